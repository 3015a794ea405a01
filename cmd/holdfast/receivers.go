package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/dial"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/cache/jwks"
	"github.com/holdfast-authz/holdfast/cache/receiver"
	"github.com/holdfast-authz/holdfast/cmd/internal/config"
)

// What identity providers send, and what becomes of it in the feed.

// events are the receivers that run: handlers on listen.events, and pollers.
type events struct {
	keys    *jwks.Store // of receivers with a jwks_uri
	mux     *http.ServeMux
	pollers []*receiver.SSFPoll
	server  *http.Server
}

// openEvents makes the receivers. The keys of those that have a jwks_uri of
// their own are kept apart from the issuers', without which no token is judged.
func (p *process) openEvents() (err error) {
	p.events.mux = http.NewServeMux()
	var sources []jwks.Source
	for i := range p.config.Receivers {
		if s := p.config.Receivers[i].Source(); s.JWKSURI != "" {
			sources = append(sources, jwks.Source{Issuer: keysOf(i), URL: s.JWKSURI})
		}
	}
	if p.events.keys, err = jwks.New(jwks.Config{Sources: sources, Logger: p.log}); err != nil {
		return err
	}
	for i := range p.config.Receivers {
		r := &p.config.Receivers[i]
		if err := p.addReceiver(i, r); err != nil {
			return fmt.Errorf("receivers[%d]: %w", i, err)
		}
	}
	p.events.server = &http.Server{
		Handler: p.events.mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	return nil
}

// keysOf names the keys of a receiver's own.
func keysOf(i int) string { return fmt.Sprintf("receivers[%d]", i) }

func (p *process) addReceiver(i int, r *config.Receiver) error {
	s := r.Source()
	keys, of := p.keys, s.Issuer
	if s.JWKSURI != "" {
		keys, of = p.events.keys, keysOf(i)
	}
	c := receiver.Config{
		Issuer: s.Issuer, Audience: s.Audience, Sink: p.sink,
		Keys:      func() (*jose.KeySet, bool) { return keys.KeySet(of) },
		KeyWanted: func() { keys.Wanted(of) },
	}
	for i := range p.config.Issuers {
		if one := &p.config.Issuers[i]; one.Issuer == s.Issuer {
			c.Skew = one.ClockSkew
		}
	}
	var h http.Handler
	var err error
	switch {
	case r.SSFPush != nil:
		c.Profile, c.Bearer = r.SSFPush.Profile, secretOf(r.SSFPush.BearerTokenFile)
		h, err = handler(receiver.NewSSFPush(c))
	case r.SSFPoll != nil:
		c.Profile, c.Bearer = r.SSFPoll.Profile, secretOf(r.SSFPoll.BearerTokenFile)
		c.URL, c.Interval = r.SSFPoll.URL, r.SSFPoll.Interval
		u, bad := dial.ParseURL(c.URL)
		if bad != nil {
			return bad
		}
		c.Client = dial.Client(dial.Config{URL: u, Timeout: 10 * time.Second})
		poll, bad := receiver.NewSSFPoll(c)
		if bad != nil {
			return bad
		}
		p.events.pollers = append(p.events.pollers, poll)
		return nil
	case r.BackchannelLogout != nil:
		h, err = handler(receiver.NewLogout(c))
	default:
		h, err = handler(receiver.NewGlobalRevocation(c))
	}
	if err != nil {
		return err
	}
	p.events.mux.Handle(s.Path, h)
	return nil
}

// handler keeps a nil pointer out of the interface.
func handler[H http.Handler](h H, err error) (http.Handler, error) { return h, err }

// secretOf reads a file each time that its secret is needed; nil without one. A
// file that is gone gives "", which refuses every push.
func secretOf(path string) func() string {
	if path == "" {
		return nil
	}
	return func() string {
		raw, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(raw))
	}
}

// listenEvents opens listen.events; nil where there is none.
func (p *process) listenEvents() (net.Listener, error) {
	c := &p.config.Listen.Events
	if c.Address == "" {
		return nil, nil
	}
	return listenHTTP(c.Address, c.TLS)
}

// never is the end of what only a lift ends.
var never = time.Date(2105, 1, 1, 0, 0, 0, 0, time.UTC)

// sink stores what a token means: all of it in one record, or nothing.
func (p *process) sink(ctx context.Context, effects ...receiver.Effect) error {
	var store []cache.Event
	for i := range effects {
		e := &effects[i]
		switch {
		case e.Op == receiver.Revoke || e.Op == receiver.Signal && e.Deny:
			store = append(store, p.revocationOf(e))
		case e.Op == receiver.Lift || e.Op == receiver.Signal:
			lifts, err := p.liftsOf(ctx, e)
			if err != nil {
				return err
			}
			store = append(store, lifts...)
		default:
			p.log.Info("event received", "from", e.Source.Issuer, "type", e.Source.Type, "effect", e.Op.String(), "why", e.Why, "jti", e.Source.JTI)
		}
	}
	result := "stored"
	defer func() {
		for i := range effects {
			p.metrics.Event(effects[i].Source.Receiver, kindOf(&effects[i]), resultOf(&effects[i], result))
		}
	}()
	if len(store) == 0 {
		return nil
	}
	number, _, err := p.feed.Append(ctx, store...)
	if err != nil {
		result = "not_durable"
		return err
	}
	p.log.Info("event stored", "from", effects[0].Source.Issuer, "type", effects[0].Source.Type, "record", number, "events", len(store), "jti", effects[0].Source.JTI)
	return nil
}

func kindOf(e *receiver.Effect) string {
	if e.Op == receiver.Lift {
		return "lift"
	}
	if len(e.Members) == 0 {
		return ""
	}
	return e.Members[0].Kind.String()
}

// resultOf is how an effect is counted: what changes nothing was matched by
// nobody.
func resultOf(e *receiver.Effect, result string) string {
	switch e.Op {
	case receiver.Ignored, receiver.Verified, receiver.StreamUpdated:
		return "unmatched"
	case receiver.Revoke, receiver.Lift, receiver.Signal:
	}
	return result
}

// revocationOf is what an effect withdraws, as the feed has it. What lasts until
// it is lifted denies sessions that begin later, too.
func (p *process) revocationOf(e *receiver.Effect) cache.Event {
	now := p.clock.Read(time.Now())
	event := subjectOf(e)
	event.Op, event.Before, event.Until = cache.OpRevoke, e.At.Truncate(time.Second), now.Add(p.keepFor(e.Issuer))
	if e.UntilLifted || e.Op == receiver.Signal {
		event.Before, event.Until = never, never
	}
	event.Reason = fit(e.Cause.String() + ": " + e.Source.Type + textAfter(e.Source.Reason))
	event.Actor, event.Request, event.Content = actorOf(e), e.Source.Request, e.Source.Content
	return event
}

// keepFor is how long a revocation is kept: as long as a token that it hits can
// be accepted, and at least feed.retention.
func (p *process) keepFor(issuer string) time.Duration {
	var skew time.Duration
	for i := range p.config.Issuers {
		skew = max(skew, p.config.Issuers[i].ClockSkew)
	}
	return max(p.config.Feed.Retention, longestLife(p.config, issuer)+2*skew)
}

func subjectOf(e *receiver.Effect) cache.Event {
	if len(e.Members) == 1 {
		m := e.Members[0]
		return cache.Event{Issuer: e.Issuer, Kinds: m.Kind, Value: m.Value, Key: cache.KeyOf(m.Kind, e.Issuer, m.Value)}
	}
	event := cache.Event{Issuer: e.Issuer, Members: e.Members, Key: cache.KeyOfAll(e.Issuer, e.Members)}
	for _, m := range e.Members {
		event.Kinds |= m.Kind
	}
	return event
}

// actorOf is who withdrew it: what one source withdraws, another does not give
// back.
func actorOf(e *receiver.Effect) string { return fit(e.Source.Receiver + " " + e.Source.Issuer) }

// liftsOf ends what the same source had withdrawn for the same cause.
func (p *process) liftsOf(ctx context.Context, e *receiver.Effect) (lifts []cache.Event, err error) {
	of := subjectOf(e)
	for _, ref := range p.index.Refs(of.Key) {
		_, stored, err := p.feed.Events(ctx, ref.Number)
		if err != nil {
			return nil, fmt.Errorf("read revocation %v, to lift it: %w", ref, err)
		}
		if int(ref.Place) >= len(stored) {
			return nil, fmt.Errorf("record %d has no event %d", ref.Number, ref.Place)
		}
		old := &stored[ref.Place]
		if old.Actor != actorOf(e) || !strings.HasPrefix(old.Reason, e.Cause.String()+":") || !old.Until.Equal(never) {
			continue
		}
		lift := subjectOf(e)
		lift.Op, lift.Lifts, lift.Actor = cache.OpLift, ref, actorOf(e)
		lift.Reason, lift.Request, lift.Content = fit(e.Source.Type+textAfter(e.Source.Reason)), e.Source.Request, e.Source.Content
		lifts = append(lifts, lift)
	}
	return lifts, nil
}

func textAfter(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// fit cuts a text to what an event can hold, between characters.
func fit(text string) string {
	if len(text) <= cache.MaxReasonBytes {
		return text
	}
	return strings.ToValidUTF8(text[:cache.MaxReasonBytes], "")
}

// serveEvents serves listen.events until it is shut down.
func (p *process) serveEvents(l net.Listener) error {
	if err := p.events.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen.events: %w", err)
	}
	return nil
}
