package feed

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// Broker is a Log in a NATS server, Embedded or Cluster. Proofs go over the
// same connection.
type Broker interface {
	Log
	// link gives the connection as it is now. It does not wait for one.
	link(ctx context.Context) (*link, error)
}

// errLost ends what was under way on a connection that broke.
var errLost = errors.New("the connection to the broker was lost")

// link is a connection for as long as it holds.
type link struct {
	conn    *nats.Conn
	streams streams
	cluster bool // the server is not ours: it may be one of several
	life    context.Context
	end     context.CancelCauseFunc // ends life, says why

	// examine looks at the server after a call that failed; nil: it is not ours.
	examine func() error

	log    *jetStream  // the feed's stream, once it was opened: see Cluster
	claims atomic.Bool // the claims' stream was found on it
}

func newLink(s streams, cluster bool) *link {
	l := &link{streams: s, cluster: cluster}
	l.life, l.end = context.WithCancelCause(context.Background())
	return l
}

// bound gives a context that ends with the connection too.
func (l *link) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.life, func() { cancel(context.Cause(l.life)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// streams is the name of the feed's stream. The other names come from it, so
// that two deployments can share one NATS account.
type streams string

func (s streams) subject() string       { return strings.ToLower(string(s)) + ".feed" }
func (s streams) spread() string        { return strings.ToLower(string(s)) + ".replay" }
func (s streams) replicas() string      { return strings.ToLower(string(s)) + ".replicas" }
func (s streams) claims() string        { return string(s) + "_REPLAY" }
func (s streams) claim(n string) string { return s.spread() + ".claim." + n }
