// Package admin is the HTTP API of contract §5: revocations, state, keys,
// health and metrics on listen.admin.
//
// # Who may call
//
// Every request passes the same gate, in this order: the Host must be one of
// this listener's own (a page of another site can not reach it by a name that
// it points at 127.0.0.1), the browser must not say that another site asks
// (Origin, Sec-Fetch-Site), the path must be written plainly, and where a
// token is configured the request must carry it. Only /livez and /readyz are
// open. There are no redirects, and no GET changes anything.
//
// # What an answer means
//
// 201 is given after Append has returned nil: the revocation is durable and
// this replica enforces it. Everything else is an RFC 9457 problem document
// and nothing was stored, with one exception that no protocol can spare: a 503
// not_durable says that it is not known to be stored. To repeat it is safe, by
// an Idempotency-Key even without a second revocation.
//
// A key holds for a day and on every replica: they all read it from the feed,
// and a replica stores nothing under a key before it has applied everything
// that stands in front. The repeat gets the first answer, with the header
// Idempotency-Replayed; where the revocation has ended since, it stays ended,
// and the answer says so (lifted, expired). Another body is a 409.
//
// The Server holds no revocation itself. It reads the index, and from the feed
// what only people want to know.
package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
	"github.com/holdfast-authz/holdfast/cache/jwks"
)

// Limits of the API (contract §5 and §10) and of its connections.
const (
	maxBody      = 4 << 20
	maxItems     = cache.MaxEvents
	maxWait      = 30 * time.Second
	appendLimit  = 10 * time.Second // how long the feed may take to store
	readLimit    = 10 * time.Second // how long it may take to read back
	maxHeader    = 16 << 10
	headerLimit  = 5 * time.Second
	bodyLimit    = 30 * time.Second
	answerLimit  = bodyLimit + appendLimit + maxWait + 10*time.Second
	idleLimit    = time.Minute
	bodiesAtOnce = 8 // bounds the memory that large request bodies may take
	smallBody    = 64 << 10
)

// Config is what the API needs of the rest of the process. All funcs may be
// called by many goroutines at once.
type Config struct {
	// Address is listen.admin: host:port, or unix:///path. A host other than
	// a loopback address needs Token or MutualTLS.
	Address string
	// Hosts are further names that clients may use in the Host header, such
	// as those of the TLS certificate.
	Hosts []string
	// Token is the bearer token every request must carry; nil asks for none.
	Token []byte
	// MutualTLS says that the listener admits only clients with a certificate.
	MutualTLS bool
	Version   string

	Index *cache.Index
	Sync  *cache.Sync

	MaxAge    time.Duration // feed.max_age
	Retention time.Duration // feed.retention: how long a revocation holds that names no ttl
	Issuers   []Issuer

	// Append stores one record; nil means durable and applied here. Where
	// unless is not nil it is asked, once everything is applied here that the
	// record would stand behind; true is feed.ErrForestalled and stores nothing.
	Append func(ctx context.Context, unless func() bool, events ...cache.Event) (number uint64, at time.Time, err error)
	// Confirm returns nil when all that is applied here is durable.
	Confirm func(ctx context.Context) error
	// Events reads one record back; feed.ErrNoRecord where there is none.
	Events func(ctx context.Context, number uint64) (at time.Time, events []cache.Event, err error)
	// Reached gives the replicas, with what each has applied. It waits until all
	// have applied a record, or ctx ends; an error says that they are not
	// known. Nil: there is only this one.
	Reached func(ctx context.Context, number uint64) ([]feed.Replica, error)
	// Replicas lists those that are there; nil: none are shown.
	Replicas func() []feed.Replica
	// Enforced is what all replicas have denied by a revocation.
	Enforced func(ref cache.Ref) cache.Enforced

	Feed        func() feed.Status                             // nil: nothing but Sync is shown
	Keys        func() []jwks.Status                           // nil: none
	RefreshKeys func(ctx context.Context, issuer string) error // nil: there is nothing to refresh
	Checks      func() []Check                                 // of readiness; nil: only the feed's
	Metrics     http.Handler                                   // nil: no /metrics

	// Count is told of every revocation that was asked for: a kind or "lift",
	// and "stored", "refused" or "not_durable". Nil: nobody counts.
	Count func(kind, result string)

	// WallClock turns a reading of the clock into the time that checks judge
	// by, which never steps back: not_before and the end of a revocation are
	// counted from it. Nil: the reading itself.
	WallClock func(time.Time) time.Time

	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now
}

// Issuer is what the API knows of a configured issuer.
type Issuer struct {
	Name string
	// MaxLife is the longest that one of its tokens can be accepted, by the
	// class that is most lenient.
	MaxLife   time.Duration
	ClockSkew time.Duration
	// Lasting: its credentials may have no end. A revocation of one is kept
	// until it is lifted.
	Lasting bool
}

// Check is one line of readiness.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	// Advisory checks are shown and do not make the replica unready.
	Advisory bool `json:"advisory,omitempty"`
}

// Server answers the API.
type Server struct {
	config   atomic.Pointer[Config]
	gate     atomic.Pointer[gate]
	routes   []route
	requests *requests
	bodies   chan struct{} // one slot for each body being read
	http     *http.Server
	log      *slog.Logger
	now      func() time.Time
	started  time.Time
	early    atomic.Bool // it was said that keys are forgotten early
}

// New checks the configuration and makes a server that does not listen yet.
func New(c Config) (*Server, error) {
	if err := c.settle(); err != nil {
		return nil, err
	}
	s := &Server{routes: routes(), requests: newRequests(), bodies: make(chan struct{}, bodiesAtOnce), log: c.Logger, now: c.Now}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.started = s.now()
	s.config.Store(&c)
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerLimit,
		ReadTimeout:       bodyLimit,
		WriteTimeout:      answerLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		// OPTIONS * goes through the gate like everything else.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// Reload puts another configuration in force, all but the listener's Address,
// the Logger and Now. One that does not validate changes nothing.
func (s *Server) Reload(c Config) error {
	c.Address = s.config.Load().Address
	if err := c.settle(); err != nil {
		return err
	}
	s.config.Store(&c)
	return nil
}

func (c *Config) wallClock(now time.Time) time.Time {
	if c.WallClock == nil {
		return now
	}
	return c.WallClock(now)
}

// settle checks a configuration and takes the white space off the token, which
// comes from a file that ends in a newline.
func (c *Config) settle() error {
	if c.Token != nil {
		if c.Token = bytes.TrimSpace(c.Token); !isToken(c.Token) {
			return errors.New("admin: the token file does not hold one token of printable characters without spaces")
		}
	}
	switch {
	case c.Index == nil || c.Sync == nil || c.Enforced == nil || c.Append == nil || c.Confirm == nil || c.Events == nil:
		return errors.New("admin: Index, Sync, Enforced, Append, Confirm and Events must all be set")
	case c.MaxAge <= 0 || c.Retention <= 0:
		return errors.New("admin: feed max_age and retention must be above 0")
	case c.Token == nil && !c.MutualTLS && !localOnly(c.Address):
		return fmt.Errorf("admin: %s is not a loopback address: set token_file, or tls.client_ca_file", c.Address)
	}
	return nil
}

func isToken(token []byte) bool {
	return len(token) > 0 && !bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// Serve answers on a listener until Shutdown. The Host header is held against
// the listener's own address, so that a port chosen by the kernel works.
func (s *Server) Serve(l net.Listener) error {
	s.gate.Store(newGate(s.config.Load().Address, l.Addr()))
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the admin API on %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown stops listening and waits for the requests being answered; those
// that are not done when ctx ends are cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err == nil || ctx.Err() == nil {
		return err
	}
	s.log.Warn("admin requests were cut off at the end", "err", err)
	return s.http.Close()
}

// Applied must be called with each record that the feed applies, in order,
// those of a replay among them: idempotency keys live in the records.
func (s *Server) Applied(number uint64, at time.Time, events []cache.Event) {
	if s.requests.note(number, at, events, s.now()) && s.early.CompareAndSwap(false, true) {
		s.log.Warn("more Idempotency-Keys than are kept: the oldest are forgotten before their day is over", "kept", maxRequests)
	}
}
