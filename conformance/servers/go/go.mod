module l7proxy/conformance/servers

go 1.24
