// A server on Go's net/http, for the differential test of transparency: what it answers is named by the path.
// Says its port on standard output; ends when standard input does.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	// Not the multiplexer: it would answer paths that are not its normal form by itself.
	fmt.Fprintln(os.Stderr, http.Serve(listener, http.HandlerFunc(serve)))
	os.Exit(1)
}

func serve(w http.ResponseWriter, r *http.Request) {
	got, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	header := w.Header()
	header["Date"] = nil
	length := func(status int, body string) {
		header.Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
	switch path.Base(r.URL.Path) {
	case "length":
		length(200, "hello")
	case "empty":
		length(200, "")
	case "chunked":
		io.WriteString(w, "hello")
		w.(http.Flusher).Flush()
		io.WriteString(w, " world")
	case "trailers":
		header.Set("Trailer", "X-Sum, X-Other")
		io.WriteString(w, "hello")
		header.Set("X-Sum", "1")
		header.Set("X-Other", "a b")
	case "close":
		header.Set("Connection", "close")
		length(200, "hello")
	case "204", "304":
		header.Set("ETag", `"x"`)
		w.WriteHeader(map[string]int{"204": 204, "304": 304}[path.Base(r.URL.Path)])
	case "205":
		length(205, "")
	case "299":
		length(299, "")
	case "599":
		length(599, "")
	case "headers":
		header["x-MiXeD"] = []string{"1", "2"}
		header["SERVER"] = []string{"x"}
		header["Set-Cookie"] = []string{"a=b; Path=/", "c=d"}
		header["X-Empty"] = []string{""}
		header["X-Latin"] = []string{"\xe9\xff"}
		length(200, "")
	case "redirect":
		header.Set("Location", "/elsewhere?x=1")
		length(301, "")
	case "hints":
		header.Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		header.Del("Link")
		length(200, "hello")
	case "large":
		length(200, strings.Repeat("x", 1<<20))
	case "bytes":
		body := make([]byte, 256)
		for i := range body {
			body[i] = byte(i)
		}
		length(200, string(body))
	case "nothing", "reset":
		reset := path.Base(r.URL.Path) == "reset"
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if reset {
			io.WriteString(connection, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
			connection.(*net.TCPConn).SetLinger(0)
		}
		connection.Close()
	default:
		header.Set("X-Got", fmt.Sprint(got))
		for name, values := range r.Trailer {
			header.Set("X-Trailer-"+name, strings.Join(values, ","))
		}
		length(404, "")
	}
}
