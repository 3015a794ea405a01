package receiver

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

// event is how an effect becomes an event of the feed.
func (e Effect) event(until time.Time) cache.Event {
	ev := cache.Event{Op: cache.OpRevoke, Issuer: e.Issuer, Before: e.At, Until: until, Reason: e.Source.Type, Actor: e.Source.Issuer}
	if len(e.Members) == 1 {
		ev.Kinds, ev.Value = e.Members[0].Kind, e.Members[0].Value
		ev.Key = cache.KeyOf(ev.Kinds, ev.Issuer, ev.Value)
		return ev
	}
	ev.Members = e.Members
	for _, m := range e.Members {
		ev.Kinds |= m.Kind
	}
	ev.Key = cache.KeyOfAll(ev.Issuer, ev.Members)
	return ev
}

// session is one at idp with some values.
func session(values map[cache.Kinds]string) *cache.Subject {
	s := &cache.Subject{}
	s.Set(cache.Issuer, cache.KeyOf(cache.Issuer, "", idp))
	for kind, value := range values {
		s.Set(kind, cache.KeyOf(kind, idp, value))
	}
	return s
}

// TestEffectsHitSessions sends subjects through the index that enforces them.
func TestEffectsHitSessions(t *testing.T) {
	user := obj{"format": "iss_sub", "iss": idp, "sub": "u1"}
	opaque := func(id string) obj { return obj{"format": "opaque", "id": id} }
	whole := map[cache.Kinds]string{cache.User: "u1", cache.Session: "s1", cache.Device: "d1", cache.Tenant: "t1", cache.Client: "c1"}
	but := func(kind cache.Kinds, value string) map[cache.Kinds]string {
		m := map[cache.Kinds]string{}
		for k, v := range whole {
			m[k] = v
		}
		if m[kind] = value; value == "" {
			delete(m, kind)
		}
		return m
	}
	three := obj{"format": "complex", "user": user, "device": opaque("d1"), "tenant": opaque("t1")}
	all := obj{"format": "complex", "user": user, "session": opaque("ALL")}
	for _, c := range []struct {
		name    string
		subject obj
		session map[cache.Kinds]string
		began   int64 // from the moment
		hit     bool
	}{
		{"all three", three, whole, -10, true},
		{"in that very second", three, whole, 0, true},
		{"a later login", three, whole, 1, false},
		{"another user", three, but(cache.User, "u2"), -10, false},
		{"another device", three, but(cache.Device, "d2"), -10, false},
		{"another tenant", three, but(cache.Tenant, "t2"), -10, false},
		{"no device known: fails closed", three, but(cache.Device, ""), -10, true},
		{"another session", three, but(cache.Session, "s2"), -10, true},
		{"ALL: any session of the user", all, but(cache.Session, "s9"), -10, true},
		{"ALL: a later login", all, whole, 1, false},
		{"ALL: another user", all, but(cache.User, "u2"), -10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSigner(t, "k")
			_, effects, err := testCore(t, Config{Keys: keys(t, s)}).readSET(s.sign(t, setType, set(revoked, obj{}, obj{"sub_id": c.subject})), moment)
			if err != nil || len(effects) != 1 {
				t.Fatal(err, effects)
			}
			ev := effects[0].event(moment.Add(time.Hour))
			if err := ev.Validate(); err != nil {
				t.Fatal(err)
			}
			x := cache.NewIndex()
			x.Apply(1, moment, []cache.Event{ev})
			hit := x.Status(session(c.session), moment.Add(time.Duration(c.began)*time.Second), moment)
			if (hit != cache.Hit{}) != c.hit {
				t.Errorf("hit %+v, want %v", hit, c.hit)
			}
		})
	}
}

// match tells whether all members that both subjects have are equal (SSF 1.0,
// 8.1.3.1). The samples name their users by mail, which no session here has:
// they become iss_sub. What no session has at all, such as a group, is not
// compared, so that a revocation rather hits too much.
func (v *vector) match(t *testing.T) {
	targets := func(raw json.RawMessage) target {
		text := strings.NewReplacer(`"email"`, `"opaque"`).Replace(string(raw))
		text = strings.ReplaceAll(text, `"opaque": "jdoe`, `"id": "jdoe`)
		o, err := jose.ParseObject([]byte(`{"s": ` + text + `}`))
		if err != nil {
			t.Fatal(err)
		}
		subject, _ := o.Get("s")
		found, why, refused := (&reader{&profiles[0], []string{idp}}).targets(subject, aUser)
		if refused != nil || len(found) != 1 {
			t.Fatal(refused, why)
		}
		return found[0]
	}
	one, two := targets(v.Subject1), targets(v.Subject2)
	values := map[cache.Kinds]string{}
	for _, m := range two.members {
		values[m.Kind] = m.Value
	}
	x := cache.NewIndex()
	x.Apply(1, moment, []cache.Event{Effect{Issuer: idp, Members: one.members, At: moment}.event(moment.Add(time.Hour))})
	hit := x.Status(session(values), moment, moment) != (cache.Hit{})
	unrecorded := len(one.unrecorded) > 0
	if hit != v.Expect.Match && !unrecorded || unrecorded && !hit {
		t.Errorf("match %v, want %v", hit, v.Expect.Match)
	}
}
