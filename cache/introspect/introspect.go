// Package introspect asks an issuer what a token means that only the issuer can
// read (RFC 7662).
//
// A check waits for the answer, so everything about a question is bounded: its
// time, over connect, request and body; the questions at one time; the bytes of
// an answer. A question over the bound is not queued, it fails. Questions about
// one token at one time are one question. Nothing is remembered: see package
// extauthz/token.
//
// Three things can come of it. Claims, of a token whose issuer says true to
// active. [ErrInactive], where it says false. [ErrUnavailable] for all else: an
// issuer that is broken, slow or of another opinion about the protocol neither
// lets anybody in nor logs everybody out.
//
// An issuer that does not answer at all would make every check wait for the
// whole timeout. After 5 such questions in a row none is asked for a second, and
// then one; see pause.go. Any HTTP answer ends the row, also a bad one: bad
// answers come soon, and a sender of odd tokens who can bring them about must
// not stop the questions of others.
//
// The token goes into the body of the request and nowhere else: not into a log,
// an error, a metric or a URL. No text of the answer does either, since it may
// repeat the token.
package introspect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-authz/holdfast/cache/dial"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

const (
	defaultTimeout  = 200 * time.Millisecond
	defaultMaxCalls = 64
)

// ErrInactive is a token that the issuer does not know, or no longer. Some say
// so to a client that the token is not for (Keycloak): it withdraws nothing.
var ErrInactive = errors.New("the issuer says that the token is not active")

// ErrUnavailable is a question without an answer that decides.
var ErrUnavailable = errors.New("the issuer gave no answer about the token")

// ErrBusy is a question that was not asked, since too many are on their way.
// It is an ErrUnavailable, too.
var ErrBusy = fmt.Errorf("%w: too many are asked about at one time", ErrUnavailable)

// Config says whom to ask, as whom. New has no use for it afterwards.
type Config struct {
	URL      string // the introspection endpoint: https, or http to loopback
	ClientID string // of Holdfast itself at the issuer

	// SecretFile has the client's secret, at most 4 KiB; line ends after it do
	// not count. It is read again when a second has passed since the last time.
	// A file that is then missing or empty leaves the last secret in force.
	SecretFile string

	Timeout  time.Duration // of one question, and of who waits for it; 0: 200ms
	MaxCalls int           // questions at one time, and connections kept; 0: 64

	Logger  *slog.Logger        // changes of state; nil: none
	Counted func(result string) // called for each question with one of Results; nil: not
}

// Client asks one issuer. Its methods are for any number of goroutines.
type Client struct {
	c       Config
	http    *http.Client
	secret  secret
	state   state
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // one for each call

	mu     sync.Mutex
	calls  map[[sha256.Size]byte]*call // by the digest of the token
	pause  pause
	closed bool
}

// call is one question and all who wait for its answer.
type call struct {
	digest [sha256.Size]byte
	probe  bool // it is asked during a pause, to end it

	done   chan struct{} // closed when what follows is final
	claims *jose.Object
	err    error
}

// New reads the secret. It asks nothing.
func New(c Config) (*Client, error) {
	u, err := dial.ParseURL(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("introspection: %w", err)
	case c.ClientID == "":
		return nil, errors.New("introspection: no client_id: issuers answer only clients that they know")
	case c.SecretFile == "":
		return nil, errors.New("introspection: no file with the client's secret")
	case c.Timeout < 0 || c.MaxCalls < 0:
		return nil, errors.New("introspection: a limit is below zero")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.MaxCalls == 0 {
		c.MaxCalls = defaultMaxCalls
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Counted == nil {
		c.Counted = func(string) {}
	}
	cl := &Client{
		c: c, http: dial.Client(dial.Config{URL: u, Keep: c.MaxCalls, Timeout: c.Timeout}),
		secret: secret{path: c.SecretFile, log: c.Logger}, state: state{log: c.Logger, url: c.URL},
		calls: map[[sha256.Size]byte]*call{},
	}
	if err := cl.secret.load(); err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	cl.ctx, cl.cancel = context.WithCancel(context.Background())
	return cl, nil
}

// Close ends all questions as unavailable, and with them what New began.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
	c.http.CloseIdleConnections()
}

// Introspect asks about a token, or waits for the answer to who asked before.
// It returns within Config.Timeout: the claims, which nobody may change, or an
// error that is ErrInactive or ErrUnavailable.
func (c *Client) Introspect(token string) (claims *jose.Object, err error) {
	late := time.NewTimer(c.c.Timeout)
	defer late.Stop()
	q, err := c.join(token)
	if err != nil {
		return nil, err
	}
	select {
	case <-q.done:
		return q.claims, q.err
	case <-late.C:
		return nil, fmt.Errorf("%w within %s", ErrUnavailable, c.c.Timeout)
	}
}

// join finds the call about a token, or begins one where it may.
func (c *Client) join(token string) (*call, error) {
	digest := sha256.Sum256([]byte(token))
	q, refused := c.admit(digest, token)
	if refused == "" {
		return q, nil
	}
	c.state.notAsked()
	c.c.Counted(refused)
	if refused == resultPaused {
		return nil, fmt.Errorf("%w: it does not answer at all, and is asked again in at most %s", ErrUnavailable, pauseTime)
	}
	return nil, fmt.Errorf("%w: %d questions are on their way", ErrBusy, c.c.MaxCalls)
}

func (c *Client) admit(digest [sha256.Size]byte, token string) (q *call, refused string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.calls[digest]; q != nil {
		return q, ""
	}
	if c.closed || len(c.calls) >= c.c.MaxCalls {
		return nil, resultBusy
	}
	ok, probe := c.pause.admit(time.Now())
	if !ok {
		return nil, resultPaused
	}
	q = &call{digest: digest, probe: probe, done: make(chan struct{}), err: ErrUnavailable}
	c.calls[digest] = q
	token = strings.Clone(token) // the call may outlive the request that the text is of
	c.running.Go(func() { c.run(q, token) })
	return q, ""
}

// run asks, for all who wait: it ends by its own time and not with any of them.
// Whatever goes wrong in it, they get an answer, and it is no leave to enter.
func (c *Client) run(q *call, token string) {
	silent := true
	defer func() {
		if recover() != nil { // what is called to log or count: ask has its own
			q.claims, q.err = nil, ErrUnavailable
		}
		c.mu.Lock()
		delete(c.calls, q.digest)
		c.pause.settle(time.Now(), q.probe, silent)
		c.mu.Unlock()
		close(q.done)
	}()
	ctx, cancel := context.WithTimeout(c.ctx, c.c.Timeout)
	defer cancel()
	claims, f := c.ask(ctx, token)
	silent = f != nil && f.silent()
	if f != nil && c.ctx.Err() != nil {
		return // we are being stopped: nobody's failure
	}
	result := resultActive
	switch {
	case f != nil:
		q.err = fmt.Errorf("%w: %w", ErrUnavailable, f)
		result = f.result
	case claims == nil:
		q.err, result = ErrInactive, resultInactive
	default:
		q.claims, q.err = claims, nil
	}
	c.state.settle(time.Now(), f)
	c.c.Counted(result)
}

// ask asks once; claims are nil without a fault for a token that is not active.
func (c *Client) ask(ctx context.Context, token string) (claims *jose.Object, f *fault) {
	defer func() {
		if p := recover(); p != nil {
			// Any other value than the runtime's own may have the token in it.
			text := fmt.Sprintf("panic of %T", p)
			if err, ok := p.(runtime.Error); ok {
				text = "panic: " + err.Error()
			}
			claims, f = nil, &fault{resultInternal, errors.New(text)}
		}
	}()
	claims, f = c.post(ctx, token, c.secret.current(time.Now()))
	if f != nil && f.result == resultCredentials {
		c.secret.suspect()
	}
	return claims, f
}
