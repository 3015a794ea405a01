package feed

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// reserve is the free space below which nothing is appended. The broker
	// does not get over a full disk by itself, so it does not come to one.
	reserve = 4 << 20
	// healthTime is how often a slow append asks the broker how it is: after
	// a failed write the broker does not answer at all.
	healthTime = 100 * time.Millisecond
	// longDown bounds the pause between two attempts to start a broker.
	longDown = 5 * time.Second
)

// EmbeddedConfig is what the embedded server needs.
type EmbeddedConfig struct {
	Directory string       // its files lie in Directory/jetstream, its lock beside them
	Logger    *slog.Logger // nil: silent

	// Listen is host:port where other replicas may join, see Cluster; port 0
	// takes a free one. Whoever has the feed's key is admitted, nobody else.
	// "": nothing outside this process can reach the server.
	Listen string
	Key    []byte // the feed's, KeySize bytes; needed with Listen only
	// TLS is for those who join. Without it, whoever is on the way between two
	// replicas reads the feed and can take over a connection; records he can
	// not make, but proofs he can call unused.
	TLS *tls.Config
}

// Embedded is a Log in a NATS server inside this process. After a failed write
// the server takes no more; Embedded then starts it anew from its files, on
// the same address, until that works.
type Embedded struct {
	cfg  EmbeddedConfig
	lock *os.File
	addr net.Addr      // nil: listens on nothing
	turn chan struct{} // holds one token: the right to start and stop
	keep uint64        // reserve, but for tests that want the disk full

	mu     sync.Mutex
	broker *broker       // nil: down
	sick   error         // why it has to be started anew
	retry  time.Time     // not before
	pause  time.Duration // between attempts
	closed bool
}

// OpenEmbedded starts the server on a directory, which it makes where there is
// none. It refuses a directory that another process has open.
func OpenEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.Directory == "" {
		return nil, errors.New("open the embedded feed: no directory is given")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Directory, 0o700); err != nil {
		return nil, fmt.Errorf("make the feed's directory: %w", err)
	}
	lock, err := lockDirectory(cfg.Directory)
	if err != nil {
		return nil, err
	}
	e := &Embedded{cfg: cfg, lock: lock, turn: make(chan struct{}, 1), keep: reserve}
	e.cfg.Key = bytes.Clone(cfg.Key)
	b, err := startBroker(e.cfg, true)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	b.link.examine = func() error { return e.examine(b) }
	e.broker = b
	if cfg.Listen != "" {
		e.addr = b.server.Addr()
		// The next life of the server is found where this one was.
		host, _, _ := net.SplitHostPort(cfg.Listen)
		e.cfg.Listen = net.JoinHostPort(host, strconv.Itoa(e.addr.(*net.TCPAddr).Port))
		e.warnOpen()
	}
	return e, nil
}

// warnOpen says that others may listen in.
func (e *Embedded) warnOpen() {
	if e.cfg.TLS == nil && !e.addr.(*net.TCPAddr).IP.IsLoopback() {
		e.cfg.Logger.Warn("other replicas join the feed without TLS: whoever is on the way reads it and can cut it off; give the listener a certificate", "address", e.addr.String())
	}
}

// Addr is where other replicas join, nil where they can not.
func (e *Embedded) Addr() net.Addr { return e.addr }

func lockDirectory(directory string) (*os.File, error) {
	path := filepath.Join(directory, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the feed's directory: %w", err)
	}
	// The kernel gives it back when this process ends, however it ends.
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("feed directory %s is in use by another process: stop that one, or give this one a directory of its own", directory)
	} else if err != nil {
		err = fmt.Errorf("lock %s: %w", path, err)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// use gives the broker that runs, and starts one where none does.
func (e *Embedded) use(ctx context.Context) (*broker, error) {
	if b, err := e.running(); b != nil || err != nil {
		return b, err
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b, err := e.running(); b != nil || err != nil {
		return b, err
	}
	e.mu.Lock()
	old := e.broker
	e.broker = nil
	e.mu.Unlock()
	if old != nil {
		old.stop()
	}
	fresh, err := startBroker(e.cfg, false)
	if err == nil {
		fresh.link.examine = func() error { return e.examine(fresh) }
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.pause = min(max(2*e.pause, 100*time.Millisecond), longDown)
		e.retry = time.Now().Add(e.pause)
		e.sick = err
		return nil, err
	}
	e.cfg.Logger.Warn("the embedded feed was started anew", "after", e.sick)
	// One that starts and fails again at once is not started again at once.
	e.retry = time.Now().Add(e.pause)
	e.pause = min(max(2*e.pause, 100*time.Millisecond), longDown)
	e.broker, e.sick = fresh, nil
	return fresh, nil
}

// running gives the broker if it is well, an error if it is too early to start
// another, and neither if it is time.
func (e *Embedded) running() (*broker, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, ErrClosed
	case e.broker != nil && e.sick == nil:
		return e.broker, nil
	case time.Now().Before(e.retry):
		return nil, fmt.Errorf("the embedded feed is down, and soon started again: %w", e.sick)
	}
	return nil, nil
}

func (e *Embedded) link(ctx context.Context) (*link, error) {
	b, err := e.use(ctx)
	if err != nil {
		return nil, err
	}
	return b.link, nil
}

// examine looks at a broker after a call that failed.
func (e *Embedded) examine(b *broker) error {
	why := b.health()
	e.mu.Lock()
	defer e.mu.Unlock()
	if why != nil && e.broker == b && e.sick == nil && !e.closed {
		e.sick = why
		b.link.end(why)
		e.cfg.Logger.Error("the embedded feed failed and will be started anew", "error", why)
	}
	return why
}

// Append implements Log. A record that the broker does not acknowledge counts
// as refused, even where it can be read back: it may not be on the disk.
func (e *Embedded) Append(ctx context.Context, after uint64, record []byte) (uint64, error) {
	b, err := e.use(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := e.space(len(record)); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	watched, stop := e.watch(ctx, b)
	number, err := b.Append(watched, after, record)
	if why := stop(); err != nil && why != nil {
		err = why
	}
	if err == nil {
		e.mu.Lock()
		e.pause = 0
		e.mu.Unlock()
		return number, nil
	}
	if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrRefused) {
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return 0, err
}

// watch gives a context that ends when the broker turns out to be unable to
// write. stop ends the watch and tells why.
func (e *Embedded) watch(ctx context.Context, b *broker) (watched context.Context, stop func() error) {
	watched, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	var w sync.WaitGroup
	var why error
	w.Go(func() {
		tick := time.NewTicker(healthTime)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if why = e.examine(b); why != nil {
				cancel(why)
				return
			}
		}
	})
	return watched, func() error {
		close(done)
		w.Wait()
		cancel(nil)
		return why
	}
}

// space refuses to fill the disk to its last block.
func (e *Embedded) space(size int) error {
	if e.keep == 0 {
		return nil
	}
	free, err := freeSpace(e.cfg.Directory)
	if err != nil {
		return err
	}
	if need := e.keep + 2*uint64(size); free < need {
		return fmt.Errorf("only %d KiB are free in %s and %d are needed: %w", free>>10, e.cfg.Directory, need>>10, syscall.ENOSPC)
	}
	return nil
}

func freeSpace(directory string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(directory, &st); err != nil {
		return 0, fmt.Errorf("look for free space in %s: %w", directory, err)
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil //nolint:unconvert // another type on other systems
}

// Read implements Log.
func (e *Embedded) Read(ctx context.Context, after uint64, fn func(number uint64, record []byte) error) error {
	b, err := e.use(ctx)
	if err != nil {
		return err
	}
	err = b.Read(ctx, after, fn)
	if ctx.Err() == nil {
		err = errors.Join(err, e.examine(b))
	}
	return err
}

// Get implements Log.
func (e *Embedded) Get(ctx context.Context, number uint64) ([]byte, error) {
	b, err := e.use(ctx)
	if err != nil {
		return nil, err
	}
	record, err := b.Get(ctx, number)
	if err != nil && !errors.Is(err, ErrNoRecord) {
		err = errors.Join(err, e.examine(b))
	}
	return record, err
}

// Last implements Log.
func (e *Embedded) Last(ctx context.Context) (uint64, error) {
	b, err := e.use(ctx)
	if err != nil {
		return 0, err
	}
	last, err := b.Last(ctx)
	if err != nil {
		err = errors.Join(err, e.examine(b))
	}
	return last, err
}

// Close implements Log: it shuts the server down and gives the directory back.
func (e *Embedded) Close() error {
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	e.mu.Lock()
	b := e.broker
	e.broker, e.closed = nil, true
	e.mu.Unlock()
	if b != nil {
		b.stop()
	}
	if err := e.lock.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("unlock the feed's directory: %w", err)
	}
	return nil
}
