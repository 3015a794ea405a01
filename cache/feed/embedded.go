package feed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// startTime is how long the embedded server may take to recover its files.
	startTime = 2 * time.Minute
	// maxPayload is the broker's limit for one message, headers included.
	maxPayload = MaxRecord + 1<<16
)

// EmbeddedConfig is what the embedded server needs.
type EmbeddedConfig struct {
	Directory string       // its files lie in Directory/jetstream, its lock beside them
	Logger    *slog.Logger // nil: silent
}

// Embedded is a Log in a NATS server inside this process that nobody else can
// reach: it listens on nothing.
type Embedded struct {
	*JetStream
	lock   *os.File
	server *server.Server
	conn   *nats.Conn
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
	e := &Embedded{lock: lock}
	if err := e.start(cfg); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

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

func (e *Embedded) start(cfg EmbeddedConfig) error {
	s, err := server.NewServer(&server.Options{
		ServerName:             "holdfast",
		DontListen:             true,
		NoSigs:                 true,
		NoLog:                  true,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               filepath.Join(cfg.Directory, "jetstream"),
		SyncAlways:             true, // before the acknowledgement, not every two minutes
		MaxPayload:             maxPayload,
		// A limit computed from today's free space would outlive a full disk.
		JetStreamMaxStore:  math.MaxInt64,
		JetStreamMaxMemory: 64 << 20,
	})
	if err != nil {
		return fmt.Errorf("make the embedded feed: %w", err)
	}
	s.SetLoggerV2(brokerLog{cfg.Logger.With("part", "nats")}, false, false, false)
	e.server = s
	s.Start()
	if !s.ReadyForConnections(startTime) {
		return fmt.Errorf("start the embedded feed in %s: the server is not ready after %v", cfg.Directory, startTime)
	}
	if !s.JetStreamEnabled() {
		return fmt.Errorf("start the embedded feed: the server can not use %s: is it writable, and is there space?", cfg.Directory)
	}
	e.conn, err = nats.Connect("", nats.InProcessServer(s), nats.Name("holdfast"), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect to the embedded feed: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	e.JetStream, err = OpenJetStream(ctx, e.conn, 1)
	return err
}

// Close implements Log: it shuts the server down and gives the directory back.
func (e *Embedded) Close() error {
	if e.conn != nil {
		e.conn.Close()
	}
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
	if err := e.lock.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("unlock the feed's directory: %w", err)
	}
	return nil
}

// brokerLog carries what the server says to slog. Its notices are of no use to
// an operator of Holdfast, so they are debug records.
type brokerLog struct{ to *slog.Logger }

func (l brokerLog) Noticef(format string, v ...any) { l.to.Debug(fmt.Sprintf(format, v...)) }
func (l brokerLog) Warnf(format string, v ...any)   { l.to.Warn(fmt.Sprintf(format, v...)) }
func (l brokerLog) Fatalf(format string, v ...any)  { l.to.Error(fmt.Sprintf(format, v...)) }
func (l brokerLog) Errorf(format string, v ...any)  { l.to.Error(fmt.Sprintf(format, v...)) }
func (l brokerLog) Debugf(string, ...any)           {}
func (l brokerLog) Tracef(string, ...any)           {}
