// Command peer is the Go side of the interop suite: a tRPC-Go server and a
// tRPC-Go client that checks a server case by case. See README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

const usage = `usage:
  peer server --addr HOST:PORT|PATH [--network tcp|udp|unix] [--transport tnet|go-net] [--timeout-ms N]
              [--ignore-deadline] [--verbose] [--tls-cert FILE --tls-key FILE [--ca-cert FILE]]
  peer client --addr HOST:PORT|PATH [--network tcp|udp|unix] --mode pooled|multiplexed [--transport tnet|go-net]
              [--case NAME[,NAME...]] [--expect-deadline-answer] [--verbose]
              [--ca-cert FILE --tls-server-name NAME [--tls-cert FILE --tls-key FILE]]
  peer stream-server --addr HOST:PORT [--window BYTES] [--verbose]
  peer stream-client --addr HOST:PORT [--window BYTES] [--many N] [--verbose]
  peer cases
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "server":
		err = serverCommand(os.Args[2:])
	case "client":
		err = clientCommand(os.Args[2:])
	case "stream-server":
		err = streamServerCommand(os.Args[2:])
	case "stream-client":
		err = streamClientCommand(os.Args[2:])
	case "cases":
		for _, c := range append(allCases, datagramCases...) {
			fmt.Println(c.name)
		}
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// newFlags makes a flag set that ends the program with status 2 on bad flags.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet("peer "+name, flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flags.PrintDefaults()
	}
	return flags
}

// badUsage reports a wrong value of a flag and ends the program.
func badUsage(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, "peer: "+format+"\n", args...)
	os.Exit(2)
}

func checkTransport(name string) {
	switch name {
	case "", "tnet", "go-net":
	default:
		badUsage("--transport must be tnet or go-net, not %q", name)
	}
}

func serverCommand(args []string) error {
	flags := newFlags("server")
	var o serverOptions
	flags.StringVar(&o.addr, "addr", "127.0.0.1:0", "listening address; port 0 takes a free port")
	flags.StringVar(&o.network, "network", "tcp", "tcp, udp or unix")
	flags.StringVar(&o.transport, "transport", "", "tnet or go-net; default: what trpc-go chooses")
	timeoutMS := flags.Int("timeout-ms", 0, "the service's own timeout; 0 = none")
	flags.BoolVar(&o.ignoreDeadline, "ignore-deadline", false,
		"handlers sleep through their deadline and succeed late")
	idleMS := flags.Int("idle-ms", 0, "how long a connection may be idle; 0 = as the framework has it")
	verbose := flags.Bool("verbose", false, "show the framework's log on standard error")
	o.tls.flags(flags)
	_ = flags.Parse(args)
	if flags.NArg() > 0 {
		badUsage("unexpected argument %q", flags.Arg(0))
	}
	checkTransport(o.transport)
	checkNetwork(o.network)
	if *timeoutMS < 0 {
		badUsage("--timeout-ms must not be negative")
	}
	o.timeout = time.Duration(*timeoutMS) * time.Millisecond
	o.idle = time.Duration(*idleMS) * time.Millisecond
	setUpLogging(*verbose)
	return runServer(o)
}

func clientCommand(args []string) error {
	flags := newFlags("client")
	var o clientOptions
	flags.StringVar(&o.addr, "addr", "", "address of the server to check")
	mode := flags.String("mode", "", "pooled or multiplexed")
	flags.StringVar(&o.network, "network", "tcp", "tcp, udp or unix")
	flags.StringVar(&o.transport, "transport", "", "tnet or go-net; default: what trpc-go chooses")
	cases := flags.String("case", "", "run only these cases, separated by commas")
	flags.BoolVar(&o.expectDeadlineAnswer, "expect-deadline-answer", false,
		"also run the cases that want an answer when a deadline passes on the server")
	verbose := flags.Bool("verbose", false, "show the framework's log and notes on standard error")
	o.tls.flags(flags)
	_ = flags.Parse(args)
	if flags.NArg() > 0 {
		badUsage("unexpected argument %q", flags.Arg(0))
	}
	if o.addr == "" {
		badUsage("--addr is needed")
	}
	checkTransport(o.transport)
	checkNetwork(o.network)
	switch *mode {
	case "pooled":
	case "multiplexed":
		o.multiplexed = true
	default:
		badUsage("--mode must be pooled or multiplexed, not %q", *mode)
	}
	if *cases != "" {
		o.only = strings.Split(*cases, ",")
	}
	o.verbose = *verbose
	setUpLogging(*verbose)
	return runClient(o)
}
