module l7proxy/conformance/clients

go 1.24
