// Go's net/http as a server and as a client, for requests directly and through the proxy: `serve ADDRESS` says `ready` and
// ends when standard input does; `ask ADDRESS` prints what a client sees, and nothing that differs from run to run.
package main

import (
	"fmt"
	"os"
)

func main() {
	commands := map[string]func(string) error{"serve": serve, "ask": ask}
	if len(os.Args) != 3 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: serve ADDRESS | ask ADDRESS")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
