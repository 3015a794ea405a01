package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"strconv"
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
	// maxReplicas bounds the connections to a server that listens, those that
	// have yet to prove who they are among them.
	maxReplicas = 1024
	// readyTime is how long the start waits before it asks what went wrong.
	readyTime = 100 * time.Millisecond
	// healthAsked is how often the server must say that it is ill.
	healthAsked = 3
)

// broker is one life of the embedded server, with our connection to it.
type broker struct {
	*jetStream
	server *server.Server
	conn   *nats.Conn
	link   *link
}

// startBroker starts a server on a directory and opens the feed's stream. It
// makes one with create only: a stream that vanished is not made anew.
func startBroker(cfg EmbeddedConfig, create bool) (*broker, error) {
	b, err := startServer(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if b.jetStream, err = openJetStream(ctx, b.link, create); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// serverOptions are the embedded server's; public is the user that may join.
func serverOptions(cfg EmbeddedConfig, public string) (*server.Options, error) {
	o := &server.Options{
		ServerName:             "holdfast",
		DontListen:             true,
		NoSigs:                 true,
		NoLog:                  true, // it would write to stderr; see brokerLog
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               filepath.Join(cfg.Directory, "jetstream"),
		SyncAlways:             true, // before the acknowledgement, not every two minutes
		MaxPayload:             maxPayload,
		MaxPending:             maxPending,
		// A limit computed from today's free space would outlive a full disk.
		JetStreamMaxStore:  math.MaxInt64,
		JetStreamMaxMemory: 64 << 20,
	}
	if cfg.Listen == "" {
		return o, nil
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for other replicas on %q: %w", cfg.Listen, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listen for other replicas on %q: the port is not a number from 0 to 65535", cfg.Listen)
	}
	o.DontListen, o.Host, o.Port = false, host, int(number)
	if number == 0 {
		o.Port = server.RANDOM_PORT
	}
	o.MaxConn = maxReplicas
	// Nobody but this user, our own connection included.
	o.Nkeys = []*server.NkeyUser{{Nkey: public}}
	if cfg.TLS != nil {
		o.TLS, o.TLSConfig = true, cfg.TLS.Clone()
	}
	return o, nil
}

func startServer(cfg EmbeddedConfig) (*broker, error) {
	own := []nats.Option{
		nats.Name("holdfast"), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond),
		// What is sent while there is no connection fails, and does not come late.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			cfg.Logger.Debug("connection to the embedded feed", "error", err)
		}),
	}
	var public string
	if cfg.Listen != "" {
		user, sign, err := replicaKey(cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("make the embedded feed: %w", err)
		}
		public = user
		own = append(own, nats.Nkey(user, sign))
	}
	o, err := serverOptions(cfg, public)
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("make the embedded feed: %w", err)
	}
	said := brokerLog{cfg.Logger.With("part", "nats"), make(chan string, 1)}
	s.SetLoggerV2(said, false, false, false)
	b := &broker{server: s}
	s.Start()
	if err := b.ready(said.fatal); err != nil {
		b.stop()
		return nil, fmt.Errorf("start the embedded feed: the server can not use %s, or not listen on %q: %w", cfg.Directory, cfg.Listen, err)
	}
	// The library mends this connection itself; the link ends with the server.
	b.link = newLink(streamName, false)
	own = append(own, nats.InProcessServer(s), nats.ClosedHandler(func(*nats.Conn) { b.link.end(errLost) }))
	if b.conn, err = nats.Connect("", own...); err != nil {
		b.stop()
		return nil, fmt.Errorf("connect to the embedded feed: %w", err)
	}
	b.link.conn = b.conn
	return b, nil
}

// ready waits until the server can be used.
func (b *broker) ready(fatal <-chan string) error {
	for end := time.Now().Add(startTime); time.Now().Before(end); {
		if b.server.ReadyForConnections(readyTime) {
			if !b.server.JetStreamEnabled() {
				break
			}
			return nil
		}
		select {
		case why := <-fatal:
			return errors.New(why)
		default:
		}
	}
	select {
	case why := <-fatal:
		return errors.New(why)
	default:
		return errors.New("is it writable, and is there space?")
	}
}

// health says why the server can store no more, nil where it can.
func (b *broker) health() error {
	if b.conn.IsClosed() {
		return nats.ErrConnectionClosed
	}
	streams := []string{string(streamName)}
	if b.link.claims.Load() {
		streams = append(streams, streamName.claims())
	}
	for _, s := range streams {
		if err := b.sound(s); err != nil {
			return err
		}
	}
	return nil
}

// sound asks the server for one stream's health. Its first question is whether
// the server is ready, and it gives that a millisecond, which may pass on a
// busy machine: only an answer that stays the same counts.
func (b *broker) sound(stream string) (err error) {
	for range healthAsked {
		h := b.server.Healthz(&server.HealthzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Stream: stream})
		if h.Error == "" {
			return nil
		}
		err = errors.New(h.Error)
		b.server.ReadyForConnections(readyTime)
	}
	return err
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
type brokerLog struct {
	to    *slog.Logger
	fatal chan string // the first thing that keeps it from starting
}

func (l brokerLog) Noticef(format string, v ...any) { l.to.Debug(fmt.Sprintf(format, v...)) }
func (l brokerLog) Warnf(format string, v ...any)   { l.to.Warn(fmt.Sprintf(format, v...)) }
func (l brokerLog) Errorf(format string, v ...any)  { l.to.Error(fmt.Sprintf(format, v...)) }
func (l brokerLog) Debugf(string, ...any)           {}
func (l brokerLog) Tracef(string, ...any)           {}

func (l brokerLog) Fatalf(format string, v ...any) {
	why := fmt.Sprintf(format, v...)
	l.to.Error(why)
	select {
	case l.fatal <- why:
	default:
	}
}
