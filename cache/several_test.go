package cache

import (
	"testing"
	"time"
)

func TestSeveralMembers(t *testing.T) {
	hour := t0.Add(time.Hour)
	userDeviceTenant := []Member{{User, "alice"}, {Tenant, "acme"}, {Device, "d1"}}
	keyAndHash := []Member{{BindingKey, "k"}, {TokenHash, "h"}}
	for name, tc := range map[string]struct {
		members []Member
		ask     map[Kinds]string
		began   time.Time
		want    Kinds
	}{
		"all members":                           {userDeviceTenant, map[Kinds]string{User: "alice", Tenant: "acme", Device: "d1"}, t0, User},
		"one is another":                        {userDeviceTenant, map[Kinds]string{User: "alice", Tenant: "acme", Device: "d2"}, t0, 0},
		"the first is another":                  {userDeviceTenant, map[Kinds]string{User: "bob", Tenant: "acme", Device: "d1"}, t0, 0},
		"a session without a device":            {userDeviceTenant, map[Kinds]string{User: "alice", Tenant: "acme"}, t0, User},
		"a session that has the tenant only":    {userDeviceTenant, map[Kinds]string{Tenant: "acme"}, t0, Tenant},
		"a session that has the device only":    {userDeviceTenant, map[Kinds]string{Device: "d1", Client: "app"}, t0, Device},
		"a session that has none of them":       {userDeviceTenant, map[Kinds]string{Client: "alice", Token: "d1"}, t0, 0},
		"other names of the session":            {userDeviceTenant, map[Kinds]string{User: "alice", Token: "j", Session: "s", Client: "c", Issuer: idp}, t0, User},
		"a login later":                         {userDeviceTenant, map[Kinds]string{User: "alice", Tenant: "acme", Device: "d1"}, t0.Add(time.Second), 0},
		"the same session, refreshed":           {[]Member{{Session, "s"}, {User, "alice"}}, map[Kinds]string{Session: "s", User: "alice"}, t0.Add(time.Minute), Session},
		"a session without sid, login later":    {[]Member{{Session, "s"}, {User, "alice"}}, map[Kinds]string{User: "alice"}, t0.Add(time.Minute), 0},
		"a session without sid, login before":   {[]Member{{Session, "s"}, {User, "alice"}}, map[Kinds]string{User: "alice"}, t0, User},
		"members that are not dated":            {[]Member{{SigningKey, "k"}, {Device, "d"}}, map[Kinds]string{Device: "d"}, hour, Device},
		"another issuer, keys of no issuer":     {keyAndHash, map[Kinds]string{BindingKey: "k", Issuer: "https://other.example"}, t0, 0},
		"the issuer, keys of no issuer":         {keyAndHash, map[Kinds]string{BindingKey: "k", Issuer: idp}, t0, BindingKey},
		"no issuer is known of the credential":  {keyAndHash, map[Kinds]string{TokenHash: "h"}, t0, TokenHash},
		"names the issuer itself, all its else": {[]Member{{Issuer, idp}, {Device, "d"}}, map[Kinds]string{Issuer: idp, Device: "e"}, t0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := complexEvent(tc.members...)
			if err := e.Validate(); err != nil {
				t.Fatal(err)
			}
			x := NewIndex()
			x.Apply(7, t0, []Event{e})
			want := Hit{}
			if tc.want != 0 {
				want = Hit{Kind: tc.want, Ref: Ref{Number: 7}, Until: hour.Unix()}
			}
			var s Subject
			for kind, value := range tc.ask {
				s.Set(kind, KeyOf(kind, idp, value))
				if kind == Issuer {
					s.Set(kind, KeyOf(kind, "", value))
				}
			}
			if got := x.Status(&s, tc.began, t0); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
			if n := x.Count(e.Kinds); n != 1 || !x.Has(e.Key, Ref{Number: 7}) {
				t.Errorf("%d in force", n)
			}
			x.Apply(8, t0, []Event{{Op: OpLift, Kinds: e.Kinds, Key: e.Key, Lifts: Ref{Number: 7}}})
			if _, lifted := x.Lifted(Ref{Number: 7}); !lifted || x.Status(&s, tc.began, t0) != (Hit{}) || x.Count(e.Kinds) != 0 {
				t.Error("not lifted")
			}
			if x.several.sets.Load() != nil {
				t.Error("something is left of it")
			}
		})
	}
}

// TestSeveralOfOneTenant: a lookup does not go through what others of the same
// tenant have.
func TestSeveralOfOneTenant(t *testing.T) {
	x := NewIndex()
	const n = 5000
	for i := range uint64(n) {
		e := complexEvent(Member{User, string(rune('a' + i))}, Member{Tenant, "acme"})
		x.Apply(i+1, t0, []Event{e})
	}
	s := subject(map[Kinds]string{User: "bob", Tenant: "acme"})
	if n := testing.AllocsPerRun(100, func() {
		if x.Status(s, t0, t0) != (Hit{}) {
			t.Error("another user is hit")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	shard := s.part(User|Tenant, User|Tenant)
	if rows := x.several.shard[shard[0]%shards].under[shard]; rows != nil {
		t.Errorf("%d revocations to look through", len(rows.list))
	}
	if hit := x.Status(subject(map[Kinds]string{Tenant: "acme"}), t0, t0); hit.Ref != (Ref{Number: 1}) {
		t.Errorf("a session of the tenant alone: %+v", hit)
	}
	if got := x.Expire(t0.Add(2 * time.Hour)); got != n || x.several.sets.Load() != nil {
		t.Errorf("%d expired", got)
	}
}

func TestEventMembersRefused(t *testing.T) {
	good := complexEvent(Member{User, "a"}, Member{Device, "d"})
	for name, change := range map[string]func(*Event){
		"one member":       func(e *Event) { *e = complexEvent(e.Members[:1]...) },
		"twice the same":   func(e *Event) { *e = complexEvent(e.Members[0], e.Members[0]) },
		"out of order":     func(e *Event) { *e = complexEvent(e.Members[1], e.Members[0]) },
		"an empty value":   func(e *Event) { *e = complexEvent(Member{User, ""}, e.Members[1]) },
		"a member of two":  func(e *Event) { *e = complexEvent(e.Members[0], Member{Device | TokenHash, "d"}) },
		"a value besides":  func(e *Event) { e.Value = "a" },
		"kinds of another": func(e *Event) { e.Kinds = User | Session },
		"key of another":   func(e *Event) { e.Key = KeyOfAll("https://other.example", e.Members) },
		"more than may be": func(e *Event) {
			*e = complexEvent(Member{Token, "a"}, Member{Session, "a"}, Member{User, "a"}, Member{Client, "a"}, Member{Tenant, "a"}, Member{Device, "a"})
		},
		"members with no op": func(e *Event) { e.Op = 0 },
	} {
		e := good
		if change(&e); e.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
		if _, err := DecodeEvents(EncodeEvents(nil, []Event{e})); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if got := good.Kinds.String(); got != "subject+device" {
		t.Errorf("kinds are %q", got)
	}
}
