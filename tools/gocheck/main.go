// Command gocheck checks a Counterfoil ledger without any of the ledger's own code.
//
// It is a second implementation of docs/format.md on top of the Go transparency libraries: signatures
// and proofs by golang.org/x/mod/sumdb, tiles and bundles by Tessera's client, proof files by
// transparency-dev/formats. What it shares with the ledger is the documentation.
//
//	gocheck log     --url URL | --dir DIR  --key VKEY   a whole log, its chain, its proofs
//	gocheck receipt FILE                   --key VKEY   receipts, offline
//	gocheck proof   FILE --entry FILE      --key VKEY   a C2SP .tlog-proof, offline
//
// Exit codes: 0 everything that was looked at is verified, 1 something could not be done, 2 the command
// line was not understood, 3 verification failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const (
	exitGood   = 0
	exitError  = 1
	exitUsage  = 2
	exitFailed = 3
)

// documentBytesMax is the longest file that is read whole: what the ledger's own verifier reads.
const documentBytesMax = 64 << 20

const usage = `Checks a Counterfoil ledger with the Go transparency libraries and none of its own code.

  gocheck log --url http://127.0.0.1:7423/v1/ledgers/main/ --key verifier.key --token-file auditor.key
  gocheck log --dir ./mirror --key verifier.key
  gocheck receipt receipt.json --key verifier.key
  gocheck proof event.tlog-proof --entry event.entry --key verifier.key

"gocheck COMMAND --help" lists the flags. Exit codes: 0 verified, 1 could not be done, 2 usage, 3 failed.
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, talk io.Writer) int {
	commands := map[string]func([]string, io.Writer, io.Writer) error{
		"log": runLog, "receipt": runReceipt, "proof": runProof,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(talk, usage)
		return exitUsage
	}
	err := commands[args[0]](args[1:], out, talk)
	var failed *failure
	var misused *misuse
	switch {
	case err == nil:
		fmt.Fprintln(out, "verified")
		return exitGood
	case errors.Is(err, flag.ErrHelp):
		return exitGood
	case errors.As(err, &failed):
		fmt.Fprintf(out, "FAILED  %s: %v\n", failed.check, failed.what)
		return exitFailed
	case errors.As(err, &misused):
		fmt.Fprintf(talk, "gocheck: %v\n", misused)
		return exitUsage
	default:
		fmt.Fprintf(talk, "gocheck: %v\n", err)
		return exitError
	}
}

// failure is what was checked and found wrong, as opposed to what could not be checked.
type failure struct {
	check string
	what  error
}

func (f *failure) Error() string { return f.check + ": " + f.what.Error() }
func (f *failure) Unwrap() error { return f.what }

func failed(check, format string, args ...any) error {
	return &failure{check: check, what: fmt.Errorf(format, args...)}
}

// misuse is a command line that says nothing that can be done.
type misuse struct{ what string }

func (m *misuse) Error() string { return m.what }

// report prints one line for each check that passed.
type report struct{ out io.Writer }

func (r report) ok(check, format string, args ...any) {
	fmt.Fprintf(r.out, "ok      %s: %s\n", check, fmt.Sprintf(format, args...))
}

// common are the flags that every command has.
type common struct {
	*flag.FlagSet
	key     *string
	timeout *time.Duration
}

func newFlags(name string, talk io.Writer) common {
	set := flag.NewFlagSet("gocheck "+name, flag.ContinueOnError)
	set.SetOutput(talk)
	return common{
		FlagSet: set,
		key:     set.String("key", "", "the log's verifier key, or a file that holds it"),
		timeout: set.Duration("timeout", 2*time.Minute, "give up after this long"),
	}
}

// parse reads flags and at most `positional` other arguments, in any order.
func (c common) parse(args []string, positional int) ([]string, error) {
	var others []string
	for {
		if err := c.FlagSet.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, &misuse{what: err.Error()}
		}
		if c.NArg() == 0 {
			break
		}
		others = append(others, c.Arg(0))
		args = c.Args()[1:]
	}
	if len(others) != positional {
		return nil, &misuse{what: fmt.Sprintf("%d arguments besides flags, expected %d", len(others), positional)}
	}
	return others, nil
}

func (c common) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), *c.timeout)
}

// verifier is the key that everything is checked against; nothing else is trusted.
func (c common) verifier() (note.Verifier, string, error) {
	if *c.key == "" {
		return nil, "", &misuse{what: "--key is needed: the verifier key or the file that holds it"}
	}
	text := *c.key
	if read, err := readFile(text); err == nil {
		text = string(read)
	} else if !strings.Contains(text, "+") {
		return nil, "", err
	}
	text = strings.TrimSpace(text)
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return nil, "", fmt.Errorf("the verifier key: %w", err)
	}
	return verifier, text, nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	bytes, err := io.ReadAll(io.LimitReader(file, documentBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(bytes) > documentBytesMax {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, documentBytesMax)
	}
	return bytes, nil
}
