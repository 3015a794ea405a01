package feed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// connectTime bounds the making of a connection to one server.
	connectTime = 2 * time.Second
	// reconnectPause is the first pause between two attempts, longReconnect
	// what it grows to.
	reconnectPause = 50 * time.Millisecond
	longReconnect  = 2 * time.Second
	// A server that has not answered pingsMissed pings is taken for dead.
	pingTime    = 2 * time.Second
	pingsMissed = 2
	// maxSaid bounds what is logged of one outage.
	maxSaid = 8
)

// ClusterConfig says where the feed's log is and how to get in.
type ClusterConfig struct {
	// URLs of the servers: nats://host:port, or tls://. One may carry a user
	// and a password, which are not logged.
	URLs []string
	// CredentialsFile is a NATS .creds file. Where there is none, and no user
	// in a URL, the feed's key says who we are: that is how a replica joins
	// the embedded server of another one, see EmbeddedConfig.Listen.
	CredentialsFile string
	TLS             *tls.Config  // nil: TLS only where a URL or the server asks for it
	Key             []byte       // the feed's, KeySize bytes
	Stream          string       // "": HOLDFAST
	Logger          *slog.Logger // nil: silent
}

// Cluster is a Log in NATS servers outside this process. It connects by itself,
// and again whenever the connection is lost, until it is closed. Without a
// connection Last waits for one, every other call fails at once, and nothing
// is kept to be sent later.
type Cluster struct {
	cfg  ClusterConfig
	name streams
	stop context.CancelFunc
	runs sync.WaitGroup
	turn chan struct{} // holds one token: the right to open the stream

	mu      sync.Mutex
	now     *link    // nil: no connection
	why     error    // of that, the newest
	said    []string // what was said of it since there was one
	made    bool     // the stream was there once: it is not made again
	closed  bool
	changed chan struct{} // closed at every change of now and closed
}

// streamNames are those that NATS takes and that make good subjects.
var streamNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// OpenCluster checks the configuration and begins to connect. It does not wait
// for a server: one that is down when Holdfast starts is one to wait for.
func OpenCluster(cfg ClusterConfig) (*Cluster, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Stream == "" {
		cfg.Stream = string(streamName)
	}
	if !streamNames.MatchString(cfg.Stream) {
		return nil, fmt.Errorf("feed stream %q: the name must be 1 to 64 letters, digits, _ and -", cfg.Stream)
	}
	options, servers, err := connectOptions(&cfg)
	if err != nil {
		return nil, err
	}
	public, sign, err := replicaKey(cfg.Key)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		cfg: cfg, name: streams(cfg.Stream), turn: make(chan struct{}, 1),
		why: errors.New("not yet connected"), changed: make(chan struct{}),
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	withKey := append(options[:len(options):len(options)], nats.Nkey(public, sign))
	if cfg.CredentialsFile != "" {
		withKey = append(options[:len(options):len(options)], nats.UserCredentials(cfg.CredentialsFile))
	} else if strings.Contains(servers, "@") {
		withKey = options
	}
	c.runs.Go(func() { c.run(ctx, servers, options, withKey) })
	return c, nil
}

// connectOptions are those that do not depend on who we are.
func connectOptions(cfg *ClusterConfig) (options []nats.Option, servers string, err error) {
	if len(cfg.URLs) == 0 {
		return nil, "", errors.New("open the feed: no server's URL is given")
	}
	for i, text := range cfg.URLs {
		u, err := url.Parse(text)
		// What is wrong with it may quote a password.
		if err != nil || u.Host == "" || strings.ContainsAny(text, ", ") {
			return nil, "", fmt.Errorf("feed server %d: its URL is not of the form nats://host:port", i+1)
		}
		if u.Scheme != "nats" && u.Scheme != "tls" {
			return nil, "", fmt.Errorf("feed server %d: its URL must begin with nats:// or tls://", i+1)
		}
	}
	if cfg.CredentialsFile != "" {
		f, err := os.Open(cfg.CredentialsFile)
		if err != nil {
			return nil, "", fmt.Errorf("read the feed's NATS credentials: %w", err)
		}
		_ = f.Close()
	}
	options = []nats.Option{
		nats.Name("holdfast"), nats.Timeout(connectTime),
		nats.PingInterval(pingTime), nats.MaxPingsOutstanding(pingsMissed),
		nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			return min(reconnectPause<<min(attempts, 16), longReconnect)
		}),
		// What is sent while there is no connection fails, and does not come late.
		nats.ReconnectBufSize(-1),
	}
	if cfg.TLS != nil {
		options = append(options, nats.Secure(cfg.TLS.Clone()))
	}
	return options, strings.Join(cfg.URLs, ","), nil
}

// dialer ends with the Cluster.
type dialer struct{ ctx context.Context }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, connectTime)
	defer cancel()
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// run keeps a connection. The library looks after one that was made once.
func (c *Cluster) run(ctx context.Context, servers string, open, withKey []nats.Option) {
	pause := reconnectPause
	for ctx.Err() == nil {
		gone := make(chan struct{})
		handlers := []nats.Option{
			nats.SetCustomDialer(dialer{ctx}),
			// Called one after the other, in the order of what happened.
			nats.ConnectHandler(c.connected), nats.ReconnectHandler(c.connected),
			nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.lost(err) }),
			nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.lost(err) }),
			nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
				if sub == nil {
					c.lost(err)
				}
			}),
			nats.ClosedHandler(func(*nats.Conn) { close(gone) }),
		}
		conn, err := nats.Connect(servers, append(handlers, withKey...)...)
		if errors.Is(err, nats.ErrNkeysNotSupported) {
			// A server that lets everybody in, and so asks for no proof.
			conn, err = nats.Connect(servers, append(handlers, open...)...)
		}
		if err != nil {
			c.lost(err)
			if !sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, longReconnect)
			continue
		}
		pause = reconnectPause
		select {
		case <-ctx.Done():
			conn.Close()
			<-gone
		case <-gone:
			c.lost(conn.LastError())
		}
	}
}

// connected notes that there is a connection.
func (c *Cluster) connected(conn *nats.Conn) {
	l := newLink(c.name, true)
	l.conn = conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now != nil {
		c.now.end(errLost)
	}
	if c.closed {
		return
	}
	c.now, c.why, c.said = l, nil, nil
	c.wake()
	c.cfg.Logger.Info("connected to the feed's broker", "server", conn.ConnectedUrlRedacted())
}

// lost notes that there is none, and says it where that is news.
func (c *Cluster) lost(err error) {
	if err == nil {
		err = errLost
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if c.now != nil && c.now.conn.IsConnected() {
		// An error that did not cost the connection.
		c.cfg.Logger.Debug("connection to the feed's broker", "error", err)
		return
	}
	if len(c.said) < maxSaid && !slices.Contains(c.said, err.Error()) {
		c.said = append(c.said, err.Error())
		c.cfg.Logger.Warn("the feed's broker can not be reached, trying again", "error", err)
	}
	c.why = err
	if c.now != nil {
		c.now.end(errLost)
		c.now = nil
		c.wake()
	}
}

// wake tells everybody who waits; the caller holds mu.
func (c *Cluster) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Cluster) link(context.Context) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, ErrClosed
	case c.now == nil:
		return nil, fmt.Errorf("no connection to the feed's broker: %w", c.why)
	}
	return c.now, nil
}

// await waits for a connection.
func (c *Cluster) await(ctx context.Context) error {
	for {
		c.mu.Lock()
		ok, changed := c.now != nil || c.closed, c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// use gives the feed's stream on the connection as it is now. On every new
// connection the stream's configuration is looked at again.
func (c *Cluster) use(ctx context.Context) (*jetStream, *link, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	l, err := c.link(ctx)
	switch {
	case err != nil:
		return nil, nil, err
	case l.log != nil:
		return l.log, l, nil
	}
	bounded, end := l.bound(ctx)
	defer end()
	bounded, cancel := context.WithTimeout(bounded, apiTime)
	defer cancel()
	j, err := openJetStream(bounded, l, !c.made)
	if err != nil {
		return nil, nil, err
	}
	if info := j.stream.CachedInfo(); info.Config.Replicas < inCluster && servers(l.conn) >= inCluster {
		c.cfg.Logger.Warn("the feed's stream is kept on fewer servers than the cluster could keep it on; raise its replicas",
			"stream", c.name, "replicas", info.Config.Replicas, "advice", inCluster)
	}
	l.log, c.made = j, true
	return j, l, nil
}
