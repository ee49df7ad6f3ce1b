// Command tessera puts Tessera's POSIX library behind HTTP, to be measured beside Counterfoil.
//
// POST /add takes one entry and answers its index once the library has integrated it: entry bundle and
// tiles are written and synced then, the checkpoint that covers it may follow up to an interval later.
// With -preload it adds entries of -bytes bytes in process instead, waits for the checkpoint and ends.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const origin = "bench.example/tessera"

// outstandingMax bounds entries in the library; the generator never has as many under way.
const outstandingMax = 8192

var (
	dir     = flag.String("dir", "", "directory of the log; the public key is written beside it, with the suffix .pub")
	batch   = flag.Uint("batch", 64, "entries integrated together at most")
	age     = flag.Duration("age", 5*time.Millisecond, "how long a batch waits for more entries")
	publish = flag.Duration("publish", time.Second, "interval of checkpoints")
	preload = flag.Uint64("preload", 0, "add this many entries in process and end")
	bytes   = flag.Int("bytes", 500, "size of preloaded entries")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ctx := context.Background()
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Clean(*dir)+".pub", []byte(public+"\n"), 0o644); err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: *dir})
	if err != nil {
		return err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(*publish).
		WithBatching(*batch, *age).
		WithPushback(outstandingMax)
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return err
	}
	if *preload > 0 {
		err = fill(ctx, appender)
	} else {
		err = serve(appender)
	}
	// It waits until a checkpoint covers everything.
	return errors.Join(err, shutdown(ctx))
}

// fill adds entries from workers enough to keep batches full, and no more than may be outstanding.
func fill(ctx context.Context, appender *tessera.Appender) error {
	const workers = 2048
	numbers := make(chan uint64)
	failed := make(chan error, workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for n := range numbers {
				entry := make([]byte, *bytes)
				copy(entry, fmt.Sprintf("entry %d of the bench", n))
				if _, err := appender.Add(ctx, tessera.NewEntry(entry))(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	for n := range *preload {
		select {
		case numbers <- n:
		case err := <-failed:
			close(numbers)
			return err
		}
	}
	close(numbers)
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func serve(appender *tessera.Appender) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !json.Valid(body) {
			http.Error(w, "no JSON", http.StatusBadRequest)
			return
		}
		index, err := appender.Add(r.Context(), tessera.NewEntry(body))()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"index":%d}`, index.Index)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 30 * time.Second}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-ended
		_ = server.Shutdown(context.Background())
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
