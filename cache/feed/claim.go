package feed

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	defaultClaims = 200_000
	// claimMargin is how much longer than its window a claim is remembered.
	claimMargin = 10 * time.Second
	// claimTime bounds a claim whose caller is more patient.
	claimTime = 2 * time.Second
	// errStore: the broker could not store a message, mostly for a limit.
	errStore jetstream.ErrorCode = 10077
	// maxClaim bounds the message of a claim: it is its header.
	maxClaim = 256
)

// ErrFull: the broker remembers as many claims as it may.
var ErrFull = errors.New("no room for another claim")

// opened is the claims' stream on one connection.
type opened struct {
	link *link
	js   jetstream.JetStream
}

// claimsConfig is a stream that holds one message a proof, forgets it by its
// age only, and takes no second one meanwhile. Claims on the disk outlive the
// server. It may write them a few milliseconds late: whoever kills it can use
// the proofs of that moment again.
func (p *Proofs) claimsConfig(s streams, replicas int) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:                 s.claims(),
		Description:          "Holdfast's DPoP proofs in use: each is forgotten when it can not be used any more",
		Subjects:             []string{s.claim("*")},
		Retention:            jetstream.LimitsPolicy,
		MaxConsumers:         -1,
		MaxMsgs:              int64(p.cfg.Claims),
		MaxBytes:             -1,
		MaxMsgsPerSubject:    1,
		MaxMsgSize:           maxClaim,
		MaxAge:               p.cfg.Window + p.margin,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		Storage:              jetstream.FileStorage,
		Replicas:             replicas,
		DenyDelete:           true,
		DenyPurge:            true,
	}
	if replicas == 1 {
		c.PersistMode = jetstream.AsyncPersistMode
	}
	return c
}

// opened gives the claims' stream, and looks at its configuration once on each
// connection.
func (p *Proofs) opened(ctx context.Context, l *link) (*opened, error) {
	if o := p.open.Load(); o != nil && o.link == l {
		return o, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if o := p.open.Load(); o != nil && o.link == l {
		return o, nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	js, err := jetstream.New(l.conn, jetstream.WithDefaultTimeout(apiTime))
	if err != nil {
		return nil, fmt.Errorf("open the stream of claims: %w", err)
	}
	if err := p.settle(ctx, js, l); err != nil {
		return nil, fmt.Errorf("open the stream of claims %s: %w", l.streams.claims(), err)
	}
	p.made.Store(true)
	l.claims.Store(true)
	o := &opened{l, js}
	p.open.Store(o)
	return o, nil
}

// settle finds the stream, or makes it, and holds it to its configuration. A
// replica that needs it larger makes it so, none makes it smaller.
func (p *Proofs) settle(ctx context.Context, js jetstream.JetStream, l *link) error {
	stream, err := js.Stream(ctx, l.streams.claims())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if p.made.Load() {
			return errors.New("the broker has it no more, and with it the proofs that were used: restart Holdfast when the longest of them has ended")
		}
		stream, err = createStream(ctx, js, l, func(replicas int) jetstream.StreamConfig { return p.claimsConfig(l.streams, replicas) })
	}
	if err != nil {
		return err
	}
	have := stream.CachedInfo().Config
	want := p.claimsConfig(l.streams, have.Replicas)
	want.PersistMode = have.PersistMode
	if have.MaxAge < want.MaxAge || have.MaxMsgs < want.MaxMsgs && have.MaxMsgs > 0 {
		larger := have
		larger.MaxAge, larger.MaxMsgs = max(have.MaxAge, want.MaxAge), max(have.MaxMsgs, want.MaxMsgs)
		if stream, err = js.UpdateStream(ctx, larger); err != nil {
			return fmt.Errorf("make it larger: %w", err)
		}
		have = stream.CachedInfo().Config
	}
	want.MaxAge, want.MaxMsgs = max(have.MaxAge, want.MaxAge), max(have.MaxMsgs, want.MaxMsgs)
	if differs := differences(&have, &want); len(differs) > 0 {
		return fmt.Errorf("it exists with a configuration under which a proof could be used twice: %s; remove it if it is not Holdfast's", strings.Join(differs, ", "))
	}
	return nil
}

// Claim asks the broker for the right to use a proof, once. Of any number of
// claims of one key, at all replicas, at most one is first, and no other is
// before until. An error says nothing but that this caller is not first: a
// claim whose answer was lost may stand, and whoever repeats it is too late.
// The error is ErrFull where the broker has no room.
//
// It is as exact as the broker: who can write to its streams there can bring a
// proof back, and a clock of the broker's that leaps ahead makes it forget.
func (p *Proofs) Claim(ctx context.Context, key [16]byte, until time.Time) (first bool, err error) {
	p.stats.claims.Add(1)
	first, err = p.claim(ctx, key, until)
	if err != nil {
		p.stats.errors.Add(1)
		return false, fmt.Errorf("claim a proof: %w", err)
	}
	return first, nil
}

func (p *Proofs) claim(ctx context.Context, key [16]byte, until time.Time) (bool, error) {
	if rest := time.Until(until); rest <= 0 || rest > p.cfg.Window {
		return false, fmt.Errorf("it can be used for another %v, and the window is %v", rest, p.cfg.Window)
	}
	l, err := p.cfg.Broker.link(ctx)
	if err != nil {
		return false, err
	}
	bounded, end := l.bound(ctx)
	defer end()
	bounded, cancel := context.WithTimeout(bounded, claimTime)
	defer cancel()
	o, err := p.opened(bounded, l)
	if err != nil {
		return false, err
	}
	// The stream takes one message a subject; the header makes the broker say
	// that in words that no other failure has. No Nats-Msg-Id, for which a
	// repetition would be a success; and sent once, never again.
	ack, err := o.js.Publish(bounded, l.streams.claim(p.nameOf(key)), nil,
		jetstream.WithExpectStream(l.streams.claims()), jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithRetryAttempts(0))
	var api *jetstream.APIError
	switch {
	case err == nil && !ack.Duplicate && ack.Stream == l.streams.claims():
		return true, nil
	case err == nil:
		return false, fmt.Errorf("the broker answered as stream %s, duplicate %v", ack.Stream, ack.Duplicate)
	case wrongLast(err):
		return false, nil
	case errors.As(err, &api) && api.ErrorCode == errStore:
		err = fmt.Errorf("%w: %w", ErrFull, err)
	default:
		err = lostCause(ctx, bounded, err)
		if l.examine != nil && ctx.Err() == nil {
			err = errors.Join(err, l.examine())
		}
	}
	return false, err
}

// nameOf hides a key from those who see the broker's subjects, and keeps two
// feeds in one account apart.
func (p *Proofs) nameOf(key [16]byte) string {
	m := hmac.New(sha256.New, p.names)
	m.Write(key[:])
	return hex.EncodeToString(m.Sum(nil)[:16])
}
