package observe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// DecisionLogConfig says where decision records go.
type DecisionLogConfig struct {
	Stream string // stdout or stderr; "" is stdout
	File   string // instead of a stream: a file that is appended to
	// SampleAllow is the share of allowed requests that are recorded, from 0
	// (none) to 1. Denials and errors always are.
	SampleAllow float64
	// Queue is how many records may wait for the destination; beyond them
	// records are dropped and counted, and checks go on. 0 is 4096.
	Queue  int
	Logger *slog.Logger // nil: silent
}

const (
	defaultQueue = 4096
	flushLimit   = 2 * time.Second // for the last records, at the end
	keptBuffer   = 8 << 10         // a longer record's memory is not kept
)

// DecisionLog writes one line of JSON for each decision that is recorded. A
// check hands its record over and never waits.
type DecisionLog struct {
	config  DecisionLogConfig
	hasher  *hasher
	queue   chan *[]byte
	free    sync.Pool
	dropped atomic.Uint64
	reopen  chan struct{} // capacity 1
	closing chan struct{}
	close   sync.Once
	out     *os.File // owned by New, then by the writer goroutine of Run
}

// NewDecisionLog opens the destination. Run writes.
func NewDecisionLog(c DecisionLogConfig) (*DecisionLog, error) {
	if c.SampleAllow < 0 || c.SampleAllow > 1 || c.SampleAllow != c.SampleAllow {
		return nil, fmt.Errorf("decision log: sample_allow is %v, not from 0 to 1", c.SampleAllow)
	}
	if c.Queue <= 0 {
		c.Queue = defaultQueue
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	l := &DecisionLog{
		config: c, hasher: newHasher(), queue: make(chan *[]byte, c.Queue),
		reopen: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	l.free.New = func() any { b := make([]byte, 0, 1024); return &b }
	out, err := l.open()
	if err != nil {
		return nil, err
	}
	l.out = out
	return l, nil
}

func (l *DecisionLog) open() (*os.File, error) {
	switch {
	case l.config.File != "":
	case l.config.Stream == "" || l.config.Stream == "stdout":
		return os.Stdout, nil
	case l.config.Stream == "stderr":
		return os.Stderr, nil
	default:
		return nil, fmt.Errorf("decision log: %q is neither stdout nor stderr", l.config.Stream)
	}
	// Records tell who did what: they are for the owner's eyes.
	f, err := os.OpenFile(l.config.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the decision log: %w", err)
	}
	return f, nil
}

// Record notes a decision. It copies what it keeps and never blocks; where the
// queue is full the record is dropped and counted.
func (l *DecisionLog) Record(req *extauthz.Request, d *extauthz.Decision, took time.Duration) {
	if d.Verdict == reason.Allow && !l.sampled() {
		return
	}
	if len(l.queue) == cap(l.queue) { // spare the work; the send below decides
		l.dropped.Add(1)
		return
	}
	line := l.free.Get().(*[]byte) //nolint:forcetypeassert // New's type
	*line = appendRecord((*line)[:0], l.hasher, req, d, time.Now(), took)
	select {
	case l.queue <- line:
	default:
		l.dropped.Add(1)
		l.recycle(line)
	}
}

func (l *DecisionLog) sampled() bool {
	share := l.config.SampleAllow
	return share > 0 && (share >= 1 || rand.Float64() < share) //nolint:gosec // no secret hangs on it
}

func (l *DecisionLog) recycle(line *[]byte) {
	if cap(*line) <= keptBuffer {
		l.free.Put(line)
	}
}

// Dropped is how many records were lost.
func (l *DecisionLog) Dropped() uint64 { return l.dropped.Load() }

// Reopen makes the log open its file again: after it was renamed away.
func (l *DecisionLog) Reopen() {
	select {
	case l.reopen <- struct{}{}:
	default: // asked for already
	}
}

// Close ends Run after what is queued was written. It may be called twice.
func (l *DecisionLog) Close() { l.close.Do(func() { close(l.closing) }) }

// Run writes records until ctx ends or Close is called, then those that are
// still queued. A destination that does not take them within two seconds is
// left behind: it must not hold up the end of the process.
func (l *DecisionLog) Run(ctx context.Context) error {
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() { done <- l.write(stop) }()
	select {
	case <-ctx.Done():
	case <-l.closing:
	}
	close(stop)
	limit := time.NewTimer(flushLimit)
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
		return errors.New("decision log: the destination does not take the last records")
	}
}

// write is the one goroutine that touches the destination.
func (l *DecisionLog) write(stop <-chan struct{}) error {
	w := &destination{log: l, file: l.out}
	buffered := bufio.NewWriterSize(w, 64<<10)
	take := func(line *[]byte) {
		w.records++
		_, _ = buffered.Write(*line) // destination reports no error: it counts
		l.recycle(line)
		if len(l.queue) == 0 {
			_ = buffered.Flush()
			w.flushed()
		}
	}
	for {
		select {
		case line := <-l.queue:
			take(line)
		case <-l.reopen:
			w.reopen()
		case <-stop:
			for {
				select {
				case line := <-l.queue:
					take(line)
				default:
					_ = buffered.Flush()
					w.flushed()
					return w.close()
				}
			}
		}
	}
}

var _ io.Writer = (*destination)(nil)

// destination is the file, and what is lost on it. It never fails towards its
// writer: a full disk must not end the log.
type destination struct {
	log     *DecisionLog
	file    *os.File
	records uint64 // handed over since the last flush
	failed  bool   // the last flush failed, and that was said
	err     error  // of this flush
}

func (d *destination) Write(p []byte) (int, error) {
	if _, err := d.file.Write(p); err != nil {
		d.err = err
	}
	return len(p), nil
}

// flushed settles what was written: after an error it is not known which
// records have arrived, so that all of them count as dropped.
func (d *destination) flushed() {
	if d.err != nil {
		d.log.dropped.Add(d.records)
		if !d.failed {
			d.log.config.Logger.Error("decision records are being lost", "destination", d.file.Name(), "err", d.err)
		}
	} else if d.failed && d.records > 0 {
		d.log.config.Logger.Info("decision records are being written again", "destination", d.file.Name())
	}
	if d.records > 0 {
		d.failed = d.err != nil
	}
	d.records, d.err = 0, nil
}

func (d *destination) reopen() {
	next, err := d.log.open()
	if err != nil {
		d.log.config.Logger.Error("the decision log keeps its old file", "err", err)
		return
	}
	_ = d.close() // the old file; its records are written
	d.file = next
}

func (d *destination) close() error {
	if d.file == os.Stdout || d.file == os.Stderr {
		return nil
	}
	if err := d.file.Close(); err != nil {
		return fmt.Errorf("close the decision log: %w", err)
	}
	return nil
}
