package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Streams whose client went away, for who asks for them.
var left = make(chan struct{}, 1024)

// HTTP/1 and, by prior knowledge, HTTP/2.
func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server := http.Server{Handler: http.HandlerFunc(answer), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return server.Serve(listener)
}

// Named by the last word of the path.
func answer(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header["Date"] = nil
	length := func(status int, body string) {
		header.Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
	flush := http.NewResponseController(w).Flush
	switch name := path.Base(r.URL.Path); name {
	case "length":
		length(200, "hello")
	case "chunked":
		io.WriteString(w, "hello")
		flush()
		io.WriteString(w, " world")
	case "trailers":
		header.Set("Trailer", "X-Sum, X-Other")
		io.WriteString(w, "hello")
		flush()
		header.Set("X-Sum", "1")
		header.Set("X-Other", "a b")
	case "204", "304":
		header.Set("ETag", `"x"`)
		status, _ := strconv.Atoi(name)
		w.WriteHeader(status)
	case "hints":
		header.Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		header.Del("Link")
		length(200, "hello")
	case "large":
		large(w, r)
	case "close":
		header.Set("Connection", "close")
		length(200, "bye")
	case "echo":
		echo(w, r)
	case "early":
		// Without a look at the body.
		header.Set("Connection", "close")
		length(413, "too large\n")
	case "write":
		// Just as it is denied: who is denied sees what he would see of such a server.
		io.Copy(io.Discard, r.Body)
		header.Set("Content-Type", "text/plain")
		length(403, "Access denied\r\n")
	case "duplex":
		duplex(w, r)
	case "events":
		events(w, r)
	case "left":
		select {
		case <-left:
			length(200, "left\n")
		case <-time.After(10 * time.Second):
			length(504, "nobody left\n")
		}
	case "upgrade":
		upgrade(w, r)
	default:
		length(404, "")
	}
}

// `?mib=N` of bytes that are not all alike.
func large(w http.ResponseWriter, r *http.Request) {
	mib, err := strconv.Atoi(r.URL.Query().Get("mib"))
	if err != nil {
		w.WriteHeader(400)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(mib<<20))
	for number := range mib {
		w.Write(block(number))
	}
}

// A mebibyte.
func block(number int) []byte {
	seed := sha256.Sum256([]byte{byte(number)})
	return slices.Repeat(seed[:], 1<<20/len(seed))
}

// What the server sees of a request.
func echo(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	got, err := io.Copy(sum, r.Body)
	lines := []string{fmt.Sprintf("%s %s %s host=%s", r.Method, r.RequestURI, r.Proto, r.Host)}
	lines = append(lines, fmt.Sprintf("body %d %x %v length=%d coding=%v", got, sum.Sum(nil)[:8], err, r.ContentLength, r.TransferEncoding))
	for name, values := range r.Header {
		lines = append(lines, fmt.Sprintf("%s: %q", name, values))
	}
	for name, values := range r.Trailer {
		lines = append(lines, fmt.Sprintf("trailer %s: %q", name, values))
	}
	slices.Sort(lines[2:])
	io.WriteString(w, strings.Join(lines, "\n")+"\n")
}

// Each line in the moment in which it comes.
func duplex(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	// An error is HTTP/2's, which needs no leave.
	control.EnableFullDuplex()
	control.Flush()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		fmt.Fprintf(w, "<%s>\n", lines.Text())
		control.Flush()
	}
}

// Three events, and then nothing until the client leaves.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for number := range 3 {
		fmt.Fprintf(w, "id: %d\ndata: event\n\n", number)
		http.NewResponseController(w).Flush()
	}
	<-r.Context().Done()
	left <- struct{}{}
}

// Another protocol: what comes goes back; at the client's end a last word.
func upgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "echo" {
		w.WriteHeader(400)
		return
	}
	connection, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer connection.Close()
	io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	io.Copy(connection, buffer)
	io.WriteString(connection, "bye\n")
}
