// Command conformance is what the conformance kit needs of tRPC-Go: a server
// of its service, and a client that makes the calls that it is told. See
// ../../conformance/README.md.
package main

import (
	"flag"
	"fmt"
	"os"

	tnetlog "trpc.group/trpc-go/tnet/log"
	"trpc.group/trpc-go/trpc-go/log"
)

const usage = `usage:
  conformance server [--addr HOST:PORT] [--streams-addr HOST:PORT] [--transport tnet|go-net]
  conformance client [--multiplexed] [--transport tnet|go-net] ADDRESS CALL
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	// Standard output belongs to the kit.
	log.SetLogger(log.NewZapLog(nil))
	tnetlog.Default = log.DefaultLogger
	flags := flag.NewFlagSet("conformance", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	transport := flags.String("transport", "", "tnet or go-net; default: what trpc-go chooses")
	var err error
	switch os.Args[1] {
	case "server":
		addr := flags.String("addr", "127.0.0.1:0", "where unary calls are served")
		streams := flags.String("streams-addr", "127.0.0.1:0", "where streams are served")
		_ = flags.Parse(os.Args[2:])
		err = serve(*addr, *streams, *transport)
	case "client":
		multiplexed := flags.Bool("multiplexed", false, "many calls on one connection")
		_ = flags.Parse(os.Args[2:])
		if flags.NArg() != 2 {
			flags.Usage()
			os.Exit(2)
		}
		err = runCalls(flags.Arg(0), flags.Arg(1), *transport, *multiplexed)
	default:
		flags.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}
