package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"time"
)

// A client of one connection.
type client struct {
	name    string
	address string
	http    http.Client
}

func ask(address string) error {
	for _, name := range []string{"HTTP/1.1", "HTTP/2.0"} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(name == "HTTP/1.1")
		protocols.SetUnencryptedHTTP2(name == "HTTP/2.0")
		transport := &http.Transport{Protocols: protocols, DisableCompression: true, ExpectContinueTimeout: time.Minute}
		c := &client{name, address, http.Client{Transport: transport, Timeout: time.Minute}}
		if err := c.everything(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return raw(address)
}

func (c *client) everything() error {
	steps := []func() error{c.plain, c.bodies, c.expectations, c.talk, c.events, c.together}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) request(method, path string, body io.Reader) *http.Request {
	request, err := http.NewRequest(method, "http://"+c.address+"/read/"+path, body)
	if err != nil {
		panic(err)
	}
	request.Header.Set("User-Agent", "go")
	return request
}

// Prints all that the client sees.
func (c *client) do(request *http.Request) error {
	seen := []string{}
	trace := httptrace.ClientTrace{
		GotConn:        func(got httptrace.GotConnInfo) { seen = append(seen, fmt.Sprintf("again=%v", got.Reused)) },
		Got100Continue: func() { seen = append(seen, "100") },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			seen = append(seen, fmt.Sprint(code, header))
			return nil
		},
	}
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), &trace))
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", request.URL.Path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%s: its body: %w", request.URL.Path, err)
	}
	shown := fmt.Sprintf("%q", body)
	if len(body) > 2000 {
		shown = fmt.Sprintf("%d %x", len(body), sha256.Sum256(body))
	}
	fmt.Println(c.name, request.Method, request.URL.RequestURI(), seen)
	if response.StatusCode == 403 {
		// What denies a request is the proxy, or the server in its place: each has headers of its own.
		response.Header, response.ContentLength = nil, 0
	}
	fmt.Println(" ", response.Proto, response.Status, response.ContentLength, response.TransferEncoding, response.Close)
	fmt.Println(" ", response.Header, response.Trailer)
	fmt.Println(" ", strings.ReplaceAll(shown, c.address, "ADDRESS"))
	return nil
}

func (c *client) all(requests ...*http.Request) error {
	for _, request := range requests {
		if err := c.do(request); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) plain() error {
	wanted := c.request("GET", "trailers", nil)
	wanted.Header.Set("TE", "trailers")
	denied := c.request("POST", "write", strings.NewReader("hello"))
	denied.URL.Path = "/write"
	return c.all(
		c.request("GET", "length", nil), c.request("HEAD", "length", nil), c.request("GET", "chunked", nil),
		c.request("GET", "204", nil), c.request("GET", "304", nil), c.request("GET", "length?x=/../y;z", nil),
		wanted, c.request("GET", "hints", nil), denied, c.request("DELETE", "echo", nil), c.request("PURGE", "echo", nil),
		c.request("GET", "close", nil), c.request("GET", "length", nil),
	)
}

func (c *client) bodies() error {
	// Of unknown length, with trailers that are known at its end.
	parts := c.request("POST", "echo", io.MultiReader(strings.NewReader("hello"), strings.NewReader(" world")))
	parts.ContentLength = -1
	parts.Trailer = http.Header{"X-Sum": {"1"}, "X-Other": {"a b"}}
	parts.Header.Add("X-Twice", "1")
	parts.Header.Add("X-Twice", "2")
	var megabytes bytes.Buffer
	for number := range 8 {
		megabytes.Write(block(number))
	}
	long := c.request("PUT", "echo", bytes.NewReader(megabytes.Bytes()))
	streamed := c.request("PUT", "echo", io.MultiReader(bytes.NewReader(megabytes.Bytes())))
	return c.all(parts, c.request("POST", "echo", strings.NewReader("")), long, streamed, c.request("GET", "large?mib=8", nil))
}

// The body is held back until the server wants it; or is not sent at all.
func (c *client) expectations() error {
	wanted := c.request("POST", "echo", strings.NewReader("hello"))
	wanted.Header.Set("Expect", "100-continue")
	if c.name == "HTTP/2.0" {
		return c.do(wanted)
	}
	sent := false
	refused := c.request("POST", "early", readerFunc(func() { sent = true }))
	refused.ContentLength = 1 << 40
	refused.Header.Set("Expect", "100-continue")
	err := c.all(wanted, refused)
	fmt.Println("  sent:", sent)
	return err
}

type readerFunc func()

func (f readerFunc) Read(into []byte) (int, error) {
	f()
	return len(into), nil
}

// Line by line, both ways at once.
func (c *client) talk() error {
	read, write := io.Pipe()
	response, err := c.http.Do(c.request("POST", "duplex", read))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for number := range 5 {
		fmt.Fprintf(write, "%d\n", number)
		if !lines.Scan() {
			return fmt.Errorf("no line %d: %w", number, lines.Err())
		}
		fmt.Println(c.name, "talk", lines.Text())
	}
	write.Close()
	fmt.Println("  more:", lines.Scan(), lines.Err())
	return nil
}

// As they come; the server learns that the client left.
func (c *client) events() error {
	leaving, leave := context.WithCancel(context.Background())
	response, err := c.http.Do(c.request("GET", "events", nil).WithContext(leaving))
	if err != nil {
		leave()
		return err
	}
	lines := bufio.NewScanner(response.Body)
	for range 9 {
		lines.Scan()
		fmt.Printf("%s event %q\n", c.name, lines.Text())
	}
	leave()
	response.Body.Close()
	return c.do(c.request("GET", "left", nil))
}

// As many as a browser opens a page with; one of them denied.
func (c *client) together() error {
	const many = 40
	statuses := make([]string, many)
	var group sync.WaitGroup
	for number := range many {
		group.Add(1)
		go func() {
			defer group.Done()
			request := c.request("PUT", "echo", bytes.NewReader(block(number)[:number<<10]))
			if number == 7 {
				request.URL.Path = "/write"
			}
			response, err := c.http.Do(request)
			if err != nil {
				statuses[number] = err.Error()
				return
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			statuses[number] = fmt.Sprint(response.StatusCode, sha256.Sum256(body), err)
		}()
	}
	group.Wait()
	fmt.Println(c.name, "together", strings.Join(statuses, " "))
	return nil
}

// What the library does not do: several requests at once, an end of sending, HTTP/1.0, another protocol.
func raw(address string) error {
	get := func(name, version, lines string) string {
		return "GET /read/" + name + " HTTP/" + version + "\r\nHost: h\r\n" + lines + "\r\n"
	}
	pipeline := get("length", "1.1", "") + get("chunked", "1.1", "") + "HEAD /read/length HTTP/1.1\r\nHost: h\r\n\r\n"
	pipeline += "PUT /read/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" + get("204", "1.1", "") + get("close", "1.1", "")
	switched := get("upgrade", "1.1", "Connection: Upgrade\r\nUpgrade: echo\r\n")
	for _, sent := range []string{
		pipeline,
		get("length", "1.1", ""),
		get("large?mib=2", "1.1", ""),
		get("length", "1.0", ""),
		get("length", "1.0", "Connection: keep-alive\r\n") + get("chunked", "1.0", ""),
		get("chunked", "1.0", ""),
		switched + "early",
		get("upgrade", "1.1", "Connection: Upgrade\r\nUpgrade: other\r\n"),
	} {
		if err := exchange(address, sent); err != nil {
			return err
		}
	}
	return nil
}

// Sends, ends the sending side, and prints every byte that comes.
func exchange(address, sent string) error {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(connection, sent); err != nil {
		return err
	}
	connection.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(connection)
	if head, body, long := bytes.Cut(got, []byte("\r\n\r\n")); long && len(body) > 2000 {
		got = fmt.Appendf(head, " %d %x", len(body), sha256.Sum256(body))
	}
	fmt.Printf("raw %q\n  %q %v\n", sent, got, err)
	return nil
}
