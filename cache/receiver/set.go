package receiver

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

const (
	setType  = "secevent+jwt" // RFC 8417 section 2.3
	setMedia = "application/secevent+jwt"

	// maxEvents is more than one SET may say of one change: SSF 1.0, 4.2.1
	// wants one event, and others only as its other names.
	maxEvents = 8

	// longAgo is further back than any transmitter repeats itself: an event so
	// much older than its own SET has a broken clock, or other units.
	longAgo = 30 * 24 * time.Hour
	// firstMillis is, as seconds, in the year 5138.
	firstMillis = 100_000_000_000
)

// readSET verifies a SET and says what it means. It fails with a *Refusal, or
// with errKeys.
func (r *core) readSET(raw string, now time.Time) (*verified, []Effect, error) {
	types := []string{setType}
	if r.profile.noType {
		types = append(types, "")
	}
	v, err := r.verify(raw, "set", types...)
	if err != nil {
		return nil, nil, err
	}
	effects, err := r.meaning(v, now)
	return v, effects, err
}

// meaning maps a verified SET to effects.
func (r *core) meaning(v *verified, now time.Time) (effects []Effect, err error) {
	source := r.source(v)
	if err := r.setClaims(v.claims, &source); err != nil {
		return nil, err
	}
	member, _ := v.claims.Get("events")
	events, ok := member.Object()
	switch {
	case !ok || len(events.Members()) == 0:
		return nil, malformed("events is missing, empty or not an object")
	case len(events.Members()) > maxEvents:
		return nil, malformed("the SET has too many events")
	}
	for _, m := range events.Members() {
		e := event{uri: m.Name, body: &jose.Object{}, issued: v.issued, now: now, source: source}
		// An event may be any JSON value (contract §10): one that is no object
		// says nothing more than its name.
		if body, ok := m.Value.Object(); ok {
			e.body = body
		}
		found, err := r.effects(&e, v.claims)
		if err != nil {
			return nil, err
		}
		effects = append(effects, found...)
	}
	if slices.ContainsFunc(effects, Effect.denies) && slices.ContainsFunc(effects, Effect.lets) {
		return nil, malformed("the SET has two events that contradict each other") // SSF 1.0, 4.2.1
	}
	return effects, nil
}

// setClaims holds the SET to SSF 1.0, section 4.1.
func (r *core) setClaims(claims *jose.Object, source *Source) error {
	if claims.Has("exp") { // 4.1.7
		return malformed("a SET has no exp")
	}
	if claims.Has("sub") && !r.profile.jwtSub { // 4.1.2
		return malformed("a SET names its subject in sub_id, not in sub")
	}
	if txn, ok := claims.Get("txn"); ok {
		source.TXN, ok = txn.Text()
		if !ok && !(r.profile.anyTXN && txn.Kind() == jose.Number) {
			return malformed("txn is not a string")
		}
		source.TXN = head(source.TXN)
	}
	return nil
}

// event is one member of a SET's events.
type event struct {
	uri         string
	body        *jose.Object
	issued, now time.Time
	source      Source
}

// rule is what an event of a type is to do, whoever its subject is.
type rule struct {
	op          Op
	cause       Cause
	untilLifted bool
	level       string
	deny        bool
	simple      simpleKinds
	why         string // Ignored
}

// ignored is a rule for what changes nothing.
func ignored(why string) rule { return rule{op: Ignored, why: why} }

// effects says what one event of a SET does.
func (r *core) effects(e *event, claims *jose.Object) ([]Effect, error) {
	rule, err := e.rule(r.profile)
	if err != nil {
		return nil, err
	}
	e.source.Reason = reasonOf(e.body)
	effect := Effect{Op: rule.op, Cause: rule.cause, UntilLifted: rule.untilLifted, Level: rule.level, Deny: rule.deny, Why: rule.why, Source: e.source}
	if effect.At, effect.Moved, err = r.when(e, effect.lets()); err != nil {
		return nil, err
	}
	subject, ok := claims.Get("sub_id") // it wins over the event's (SSF 1.0, 3.1.1)
	if !ok && r.profile.inEvent {
		subject, ok = e.body.Get("subject")
	}
	if rule.op == Verified || rule.op == StreamUpdated { // about the stream itself
		if !ok && !r.profile.inEvent {
			return nil, malformed("sub_id is missing")
		}
		effect.Stream = streamOf(subject)
		return []Effect{effect}, nil
	}
	switch {
	case !ok && rule.op == Ignored && r.profile.inEvent: // an event of the transmitter's own
		return []Effect{effect}, nil
	case !ok:
		return nil, malformed("the SET names no subject")
	}
	targets, why, refused := r.reader.targets(subject, rule.simple)
	switch {
	case refused != nil:
		return nil, refused
	case rule.op == Ignored:
		return []Effect{effect}, nil
	case why != "":
		return []Effect{{Op: Ignored, At: effect.At, Why: why, Source: e.source}}, nil
	}
	effects := make([]Effect, len(targets))
	for i, t := range targets {
		effects[i] = effect
		effects[i].Issuer, effects[i].Members, effects[i].Unrecorded = t.issuer, t.members, t.unrecorded
	}
	return effects, nil
}

// streamOf is the id of a stream, which is opaque (SSF 1.0, 8.1.4.1).
func streamOf(subject jose.Value) string {
	obj, ok := subject.Object()
	if !ok {
		return ""
	}
	id, _ := obj.Get("id")
	name, _ := id.Text()
	return head(name)
}

// rule finds what the event's type means. It sets the type's short name.
func (e *event) rule(p *profile) (rule, error) {
	uri := e.uri
	if p.oldTypes {
		uri = legacy(uri)
	}
	for _, of := range [...]struct {
		prefix string
		rule   func(e *event, name string) (rule, bool, error)
	}{{caepTypes, caep}, {riscTypes, risc}, {ssfTypes, ssf}} {
		name, ok := strings.CutPrefix(uri, of.prefix)
		if !ok {
			continue
		}
		e.source.Type = head(name)
		if rule, known, err := of.rule(e, name); known || err != nil {
			return rule, err
		}
	}
	if e.source.Type == "" {
		e.source.Type = head(e.uri)
	}
	return ignored("unknown event type"), nil
}

const ssfTypes = "https://schemas.openid.net/secevent/ssf/event-type/"

// ssf are the events about the stream itself (SSF 1.0, 8.1.4 and 8.1.5).
func ssf(e *event, name string) (u rule, known bool, err error) {
	switch name {
	case "verification":
		u.op = Verified
		if e.body.Has("state") {
			u.level, err = text(e.body, "state")
		}
		return u, true, err
	case "stream-updated":
		u.op = StreamUpdated
		u.level, err = text(e.body, "status")
		return u, true, err
	}
	return u, false, nil
}

// when is the time of the event, else of the SET. What can not be true is moved
// to where it denies: a denial to now, what lets somebody in to the time of the
// SET (security case FE15).
func (r *core) when(e *event, lets bool) (at time.Time, moved string, err error) {
	issued := e.issued
	if issued.After(e.now.Add(r.Skew)) {
		issued, moved = e.now, "iat is in the future"
	}
	value, ok := e.body.Get("event_timestamp")
	if !ok {
		return issued, moved, nil
	}
	if value.Kind() != jose.Number {
		return at, "", malformed("event_timestamp is not a number")
	}
	if at, ok = r.eventTime(value); !ok {
		moved = "event_timestamp is no time"
	} else if at.After(e.now.Add(r.Skew)) {
		moved = "event_timestamp is in the future"
	} else if at.Before(issued.Add(-longAgo)) && !lets {
		moved = "event_timestamp is long before iat"
	} else {
		return at, "", nil
	}
	if lets {
		return issued, moved, nil
	}
	return e.now, moved, nil
}

func (r *core) eventTime(value jose.Value) (time.Time, bool) {
	if at, ok := value.NumericDate(); ok && at.Unix() < firstMillis {
		return at, true
	}
	if !r.profile.millis {
		return value.NumericDate()
	}
	return millis(value.Raw())
}

// reasonOf is what the transmitter says to administrators (CAEP 1.0, 2):
// a text by language, of which any is better than none.
func reasonOf(body *jose.Object) string {
	v, _ := body.Get("reason_admin")
	if plain, ok := v.Text(); ok {
		return head(plain)
	}
	texts, ok := v.Object()
	if !ok || len(texts.Members()) == 0 {
		return ""
	}
	if v, ok = texts.Get("en"); !ok {
		v = texts.Members()[0].Value
	}
	plain, _ := v.Text()
	return head(plain)
}

// head cuts what is kept for people to what an event may carry.
func head(text string) string {
	if len(text) <= cache.MaxReasonBytes {
		return text
	}
	at := cache.MaxReasonBytes
	for !utf8.RuneStart(text[at]) {
		at--
	}
	return text[:at]
}
