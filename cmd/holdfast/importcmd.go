package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// One batch is one request and one record of the feed: all of it is stored,
	// or nothing. The server takes 10 000 and 4 MiB.
	importBatch = 10_000
	importBytes = 3 << 20
	// importTries is how often a batch is sent that the server could not store.
	importTries = 6
	importPause = 200 * time.Millisecond // doubles
	// progressEvery is the time between two lines of progress.
	progressEvery = time.Second
	// faultsShown bounds what is said of one batch.
	faultsShown = 10
)

func newImportCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "revoke all that a file names, in batches, each durable before the next",
		Long: `Revokes what FILE names; - is standard input. It holds one JSON object a line,

  {"kind":"session","value":"0a1b2c","issuer":"https://idp.example","ttl":"12h","reason":"leak"}

as POST /v1/revocations takes them, or CSV: kind,value,issuer[,ttl[,reason]]. A
first line that begins with "kind" names the columns, in any order, of these and
not_before.

Batches of up to 10 000 are stored whole or not at all, one after the other, and
a batch that could not be stored is tried again. Run the command again on the
same file after a failure, on any replica: within a day nothing is stored twice,
because each batch carries an Idempotency-Key made from its number and from all
of the file up to its end. Lines that were mended or added count as new, with
the rest of their batch and what follows. What was lifted meanwhile stays
lifted, and is counted aloud.

Exit codes: 0 all are stored and in force, 1 not all, or lifted since, 2 usage.`,
		Example: `  holdfast revocations import leaked-sessions.csv
  zcat sessions.jsonl.gz | holdfast revocations import -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			from := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("open the file to import: %w", err)
				}
				defer func() { _ = f.Close() }()
				from = f
			}
			return importAll(cmd, c, from)
		},
	}
}

// imported counts what has become of the lines.
type imported struct {
	Stored   int `json:"stored"`   // now
	Repeated int `json:"repeated"` // were stored by an earlier run
	Lifted   int `json:"lifted"`   // of those: were lifted, or have ended, since
	Batches  int `json:"batches"`

	began, said time.Time
}

func importAll(cmd *cobra.Command, c *client, from io.Reader) error {
	done := &imported{began: time.Now(), said: time.Now()}
	lines, err := readLines(from)
	if err != nil {
		return err
	}
	for {
		batch, err := lines.batch()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = batch.send(cmd, c, done)
		}
		if err != nil {
			return fmt.Errorf("%w\n%d revocations are stored, of the lines before %d; run the command again with the same file to go on", err, done.Stored+done.Repeated, batch.first())
		}
		if time.Since(done.said) >= progressEvery {
			done.said = time.Now()
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%d revocations stored, %d a second\n", done.Stored+done.Repeated, done.rate())
		}
	}
	body, err := json.Marshal(done)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if err := c.print(cmd.OutOrStdout(), &answer{status: http.StatusCreated, body: body}, done.table); err != nil {
		return err
	}
	if done.Lifted > 0 {
		return fmt.Errorf("%d of the revocations were stored by an earlier run and have been lifted, or have ended, since: they are not in force\nto revoke them again name them in another file", done.Lifted)
	}
	return nil
}

func (d *imported) rate() int {
	return int(float64(d.Stored+d.Repeated) / max(time.Since(d.began).Seconds(), 0.001))
}

func (d *imported) table(w io.Writer) error {
	_, err := fmt.Fprintf(w, "stored %d revocations", d.Stored)
	if d.Repeated > 0 {
		_, err = fmt.Fprintf(w, "; %d more were stored by an earlier run", d.Repeated)
	}
	_, _ = fmt.Fprintf(w, " (%d batches, %v)\n", d.Batches, time.Since(d.began).Round(time.Millisecond))
	return err
}

// batch is one request.
type batch struct {
	body    []byte // a JSON array
	numbers []int  // the line of each item
	key     string
}

// first is the line that the batch begins with.
func (b *batch) first() int {
	if b == nil || len(b.numbers) == 0 {
		return 1
	}
	return b.numbers[0]
}

// seal ends a batch. Its key says what it is: the batch of that number in a
// file that is the same up to here.
func (b *batch) seal(number int, sum hash.Hash) {
	b.body = append(b.body, ']')
	sum.Write(b.body)
	b.key = "holdfast-import-" + strconv.Itoa(number) + "-" + hex.EncodeToString(sum.Sum(nil))
}

// send stores a batch. Where it is not known to be stored it is sent again, by
// its key without a second revocation.
func (b *batch) send(cmd *cobra.Command, c *client, done *imported) error {
	call := &call{
		method: http.MethodPost, path: "/v1/revocations", body: json.RawMessage(b.body),
		header: http.Header{"Idempotency-Key": {b.key}},
	}
	pause := importPause
	for try := 1; ; try++ {
		got, err := c.do(cmd.Context(), call)
		if err == nil {
			return b.count(got, done)
		}
		var no *refusal
		refused := errors.As(err, &no) && no.status != http.StatusServiceUnavailable
		var usage *exitError
		if refused || errors.As(err, &usage) || try == importTries || cmd.Context().Err() != nil {
			return b.explain(err, no)
		}
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "holdfast: %v; trying again in %v\n", firstLine(err), pause)
		if !pauseFor(cmd.Context(), pause) {
			return err
		}
		pause *= 2
	}
}

func (b *batch) count(got *answer, done *imported) error {
	var items []revocation
	if err := got.into(&items); err != nil {
		return err
	}
	if len(items) != len(b.numbers) {
		return fmt.Errorf("the server answered %d revocations for %d", len(items), len(b.numbers))
	}
	done.Batches++
	if got.header.Get("Idempotency-Replayed") != "true" {
		done.Stored += len(items)
		return nil
	}
	done.Repeated += len(items)
	for i := range items {
		if items[i].Lifted != nil || items[i].Expired {
			done.Lifted++
		}
	}
	return nil
}

// explain names the lines that the server refused.
func (b *batch) explain(err error, no *refusal) error {
	if no == nil || len(no.faults) == 0 {
		return err
	}
	var text strings.Builder
	for _, fault := range no.faults[:min(len(no.faults), faultsShown)] {
		item, member, _ := strings.Cut(strings.TrimPrefix(fault.Pointer, "/"), "/")
		i, bad := strconv.Atoi(item)
		if bad != nil || i < 0 || i >= len(b.numbers) {
			return err
		}
		fmt.Fprintf(&text, "line %d: %s\n", b.numbers[i], printable(strings.TrimSpace(member+" "+fault.Detail)))
	}
	fmt.Fprintf(&text, "the server refused the batch for that (%d); nothing of it is stored", no.status)
	return errors.New(text.String())
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// pauseFor is false where ctx ended first.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
