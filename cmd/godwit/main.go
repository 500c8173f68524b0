// Command godwit is the Godwit server and its tools in one binary: serve runs
// a node, token makes keys and tokens, send, tail and chat are clients for the
// shell, desk is customer service, demo proves the promises on a real server, backup and config are the
// operator's.
//
// It exits with 0 when it did what it was asked to, with 1 when that failed,
// and with 2, before anything was started, when it was asked for something it
// cannot do: a bad flag, argument, variable or configuration file.
package main

import (
	"os"

	"github.com/godwit-im/godwit/bench/ceiling"
	"github.com/godwit-im/godwit/bench/fanout"
)

func main() {
	if ceiling.Child() || fanout.Child() { // a part of a load, which has started it
		return
	}
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
