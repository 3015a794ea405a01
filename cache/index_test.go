package cache

import (
	"fmt"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

const idp = "https://idp.example"

func revocation(kind Kinds, value string, before, until time.Time) Event {
	return Event{Op: OpRevoke, Kinds: kind, Key: KeyOf(kind, idp, value), Issuer: idp, Value: value, Before: before, Until: until}
}

func lifting(e Event, ref Ref) Event {
	return Event{Op: OpLift, Kinds: e.Kinds, Key: e.Key, Issuer: e.Issuer, Value: e.Value, Lifts: ref}
}

func subject(kinds map[Kinds]string) *Subject {
	var s Subject
	for kind, value := range kinds {
		s.Set(kind, KeyOf(kind, idp, value))
	}
	return &s
}

func TestStatus(t *testing.T) {
	hour := t0.Add(time.Hour)
	for name, tc := range map[string]struct {
		revoke Event
		ask    *Subject
		began  time.Time
		hit    bool
	}{
		"the token":                           {revocation(Token, "j1", t0, hour), subject(map[Kinds]string{Token: "j1"}), t0, true},
		"another token":                       {revocation(Token, "j1", t0, hour), subject(map[Kinds]string{Token: "j2"}), t0, false},
		"jti differs in case":                 {revocation(Token, "j1", t0, hour), subject(map[Kinds]string{Token: "J1"}), t0, false},
		"session, refreshed later":            {revocation(Session, "s1", t0, hour), subject(map[Kinds]string{Session: "s1"}), t0.Add(time.Minute), true},
		"a sid that equals a revoked jti":     {revocation(Token, "x", t0, hour), subject(map[Kinds]string{Session: "x"}), t0, false},
		"subject, login before":               {revocation(User, "alice", t0, hour), subject(map[Kinds]string{User: "alice"}), t0.Add(-time.Second), true},
		"subject, login in that very second":  {revocation(User, "alice", t0, hour), subject(map[Kinds]string{User: "alice"}), t0.Add(900 * time.Millisecond), true},
		"subject, login after":                {revocation(User, "alice", t0, hour), subject(map[Kinds]string{User: "alice"}), t0.Add(time.Second), false},
		"not_before with a fraction is later": {revocation(User, "alice", t0.Add(time.Millisecond), hour), subject(map[Kinds]string{User: "alice"}), t0.Add(time.Second), true},
		"client, login before":                {revocation(Client, "app", t0, hour), subject(map[Kinds]string{Client: "app", User: "bob"}), t0, true},
		"client, login after":                 {revocation(Client, "app", t0, hour), subject(map[Kinds]string{Client: "app"}), hour, false},
		"tenant":                              {revocation(Tenant, "acme", t0, hour), subject(map[Kinds]string{Tenant: "acme"}), t0, true},
		"signing key ignores not_before":      {revocation(SigningKey, "k1", t0, hour), subject(map[Kinds]string{SigningKey: "k1"}), hour, true},
		"binding key ignores not_before":      {revocation(BindingKey, "x5t", t0, hour), subject(map[Kinds]string{BindingKey: "x5t"}), hour, true},
		"device ignores not_before":           {revocation(Device, "d1", t0, hour), subject(map[Kinds]string{Device: "d1"}), hour, true},
		"token hash":                          {revocation(TokenHash, "h", t0, hour), subject(map[Kinds]string{TokenHash: "h"}), hour, true},
		"a request without that kind":         {revocation(Device, "d1", t0, hour), subject(map[Kinds]string{User: "alice"}), t0, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := NewIndex()
			x.Apply(7, t0, []Event{tc.revoke})
			want := Hit{}
			if tc.hit {
				want = Hit{Kind: tc.revoke.Kinds, Ref: Ref{Number: 7}, Until: hour.Unix()}
			}
			if got := x.Status(tc.ask, tc.began, t0); got != want {
				t.Errorf("status %+v, want %+v", got, want)
			}
		})
	}
}

func TestIssuerScope(t *testing.T) {
	for _, kind := range AllKinds() {
		same := KeyOf(kind, "https://a.example", "v") == KeyOf(kind, "https://b.example", "v")
		if same == kind.InIssuer() {
			t.Errorf("%v: same key at two issuers is %v", kind, same)
		}
	}
	// Parts can not be shifted into each other.
	if KeyOf(User, "ab", "c") == KeyOf(User, "a", "bc") {
		t.Error("issuer and value run into each other")
	}
}

func TestApplyIsIdempotentAndExpiryExact(t *testing.T) {
	x := NewIndex()
	e := revocation(Session, "s1", t0, t0.Add(time.Minute))
	x.Apply(1, t0, []Event{e})
	x.Apply(1, t0, []Event{e, e})
	if n := x.Count(Session); n != 1 {
		t.Fatalf("%d revocations after the same record twice", n)
	}
	ask := subject(map[Kinds]string{Session: "s1"})
	if x.Status(ask, t0, t0.Add(time.Minute)) == (Hit{}) || x.Status(ask, t0, t0.Add(time.Minute+time.Second)) != (Hit{}) {
		t.Error("a revocation ends with the second of its end")
	}
	if n := x.Expire(t0.Add(time.Minute)); n != 0 {
		t.Errorf("forgot %d in the last second", n)
	}
	if n := x.Expire(t0.Add(time.Minute + time.Second)); n != 1 || x.Count(Session) != 0 {
		t.Errorf("forgot %d, %d left", n, x.Count(Session))
	}
}

func TestLift(t *testing.T) {
	x := NewIndex()
	e := revocation(Session, "s1", t0, t0.Add(time.Hour))
	s := subject(map[Kinds]string{Session: "s1"})
	x.Apply(1, t0, []Event{e})
	x.Apply(2, t0, []Event{e})
	x.Apply(3, t0, []Event{lifting(e, Ref{Number: 1})})
	if hit := x.Status(s, t0, t0); hit.Ref != (Ref{Number: 2}) {
		t.Errorf("after lifting the first of two: %+v", hit)
	}
	x.Apply(4, t0.Add(time.Second), []Event{lifting(e, Ref{Number: 9})})
	x.Apply(5, t0.Add(time.Second), []Event{lifting(e, Ref{Number: 2})})
	if hit := x.Status(s, t0, t0); hit != (Hit{}) {
		t.Errorf("after lifting both: %+v", hit)
	}
	if l, ok := x.Lifted(Ref{Number: 2}); !ok || l.By != (Ref{Number: 5}) || !l.At.Equal(t0.Add(time.Second)) {
		t.Errorf("lifted: %+v %v", l, ok)
	}
	if _, ok := x.Lifted(Ref{Number: 9}); ok {
		t.Error("a revocation that never was is lifted")
	}
}

func TestStatusAllocs(t *testing.T) {
	x := NewIndex()
	for i := range 1000 {
		x.Apply(uint64(i+1), t0, []Event{revocation(User, fmt.Sprint(i), t0, t0.Add(time.Hour))})
	}
	s := subject(map[Kinds]string{User: "7", Token: "j", Session: "s", Client: "c", Issuer: idp})
	if n := testing.AllocsPerRun(100, func() { x.Status(s, t0, t0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRef(t *testing.T) {
	for id, ok := range map[string]bool{
		"r1-0": true, "r18446744073709551615-9999": true,
		"": false, "1-0": false, "r0-0": false, "r01-0": false, "r1": false, "r1-": false, "r1-00": false,
		"r1-4294967296": false, "r-1-0": false, "r1-0 ": false, "rr1-0": false,
	} {
		ref, err := ParseRef(id)
		if (err == nil) != ok || err == nil && ref.String() != id {
			t.Errorf("ParseRef(%q) = %v, %v", id, ref, err)
		}
	}
}

func TestEvidence(t *testing.T) {
	v := NewEvidence()
	hit := Hit{Kind: User, Ref: Ref{Number: 1}, Until: t0.Unix()}
	v.Add(hit, t0.Add(-2*time.Second))
	v.Add(hit, t0.Add(-time.Second))
	if got, want := v.Get(hit.Ref), (Enforced{Count: 2, First: t0.Add(-2 * time.Second), Last: t0.Add(-time.Second)}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	v.Expire(t0)
	if v.Get(hit.Ref).Count != 2 {
		t.Error("forgotten in the last second of the revocation")
	}
	v.Expire(t0.Add(time.Second))
	if got := v.Get(hit.Ref); got != (Enforced{}) {
		t.Errorf("after the end: %+v", got)
	}
}
