package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// startTime is how long the embedded server may take to recover its files.
	startTime = 2 * time.Minute
	// maxPayload is the broker's limit for one message, and the highest that it
	// takes without a warning.
	maxPayload = 8 << 20
	// maxPending is what the broker keeps for a reader before it cuts it off.
	maxPending = 256 << 20
)

// broker is one life of the embedded server, with our connection to it.
type broker struct {
	*jetStream
	server *server.Server
	conn   *nats.Conn
}

// startBroker starts a server on a directory and opens the feed's stream. It
// makes one with create only: a stream that vanished is not made anew.
func startBroker(directory string, logger *slog.Logger, create bool) (*broker, error) {
	b, err := startServer(directory, logger)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if b.jetStream, err = openJetStream(ctx, b.conn, 1, create); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

func startServer(directory string, logger *slog.Logger) (*broker, error) {
	s, err := server.NewServer(&server.Options{
		ServerName:             "holdfast",
		DontListen:             true,
		NoSigs:                 true,
		NoLog:                  true, // it would write to stderr; see brokerLog
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               filepath.Join(directory, "jetstream"),
		SyncAlways:             true, // before the acknowledgement, not every two minutes
		MaxPayload:             maxPayload,
		MaxPending:             maxPending,
		// A limit computed from today's free space would outlive a full disk.
		JetStreamMaxStore:  math.MaxInt64,
		JetStreamMaxMemory: 64 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("make the embedded feed: %w", err)
	}
	s.SetLoggerV2(brokerLog{logger.With("part", "nats")}, false, false, false)
	b := &broker{server: s}
	s.Start()
	if !s.ReadyForConnections(startTime) || !s.JetStreamEnabled() {
		b.stop()
		return nil, fmt.Errorf("start the embedded feed: the server can not use %s: is it writable, and is there space?", directory)
	}
	b.conn, err = nats.Connect("", nats.InProcessServer(s), nats.Name("holdfast"),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		// What is sent while there is no connection fails, and does not come late.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			logger.Debug("connection to the embedded feed", "error", err)
		}))
	if err != nil {
		b.stop()
		return nil, fmt.Errorf("connect to the embedded feed: %w", err)
	}
	return b, nil
}

// health says why the server can store no more, nil where it can.
func (b *broker) health() error {
	if b.conn.IsClosed() {
		return nats.ErrConnectionClosed
	}
	h := b.server.Healthz(&server.HealthzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Stream: streamName})
	if h.Error != "" {
		return errors.New(h.Error)
	}
	return nil
}

func (b *broker) stop() {
	if b.conn != nil {
		b.conn.Close()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
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
