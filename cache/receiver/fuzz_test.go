package receiver

import (
	"strings"
	"testing"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

// holds checks what is true of every effect, whatever was sent.
func holds(t *testing.T, effects []Effect) {
	t.Helper()
	if len(effects) == 0 || len(effects) > maxEvents*maxTargets {
		t.Fatalf("%d effects", len(effects))
	}
	for _, e := range effects {
		acts := e.Op == Revoke || e.Op == Lift || e.Op == Signal
		switch {
		case e.Op < Revoke || e.Op > Ignored:
			t.Fatalf("operation %d", e.Op)
		case acts != (len(e.Members) > 0) || acts && e.Issuer != idp:
			t.Fatalf("%v of %v at %q", e.Op, e.Members, e.Issuer)
		case (e.Op == Ignored) != (e.Why != ""):
			t.Fatalf("%v because of %q", e.Op, e.Why)
		case e.At.IsZero() || e.Op != Lift && e.At.After(moment.Add(defaultSkew)):
			t.Fatalf("%v at %v", e.Op, e.At)
		case e.Source.Request == (cache.Key{}) || e.Source.Content == (cache.Key{}):
			t.Fatal("no digests")
		}
		if acts { // the feed takes it
			ev := e.event(moment.Add(1))
			if err := ev.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func FuzzSET(f *testing.F) {
	for _, v := range vectors(f) {
		if v.Kind == "set_claims" {
			f.Add(string(marshal(f, v.Claims)), byte(0))
		}
	}
	for i := range profiles {
		f.Add(string(marshal(f, set(revoked, obj{"event_timestamp": 1_799_999_000_000}, obj{"txn": 1}))), byte(i))
	}
	f.Add(`{"iss": "https://idp.example"}`, byte(1))
	s := newSigner(f, "k")
	known := keys(f, s)
	f.Fuzz(func(t *testing.T, claims string, profile byte) {
		p := &profiles[int(profile)%len(profiles)]
		r := testCore(t, Config{Keys: known, Profile: p.name})
		_, effects, err := r.readSET(s.sign(t, setType, claims), moment)
		if err == nil {
			holds(t, effects)
		}
		// Whoever signs, the text of a token is a stranger's.
		if _, _, err := r.readSET(claims, moment); err == nil {
			t.Fatal("a SET without a signature")
		}
	})
}

func FuzzSubject(f *testing.F) {
	for _, v := range vectors(f) {
		for _, raw := range [][]byte{v.SubID, v.Subject1, v.Subject2, v.Claims["sub_id"]} {
			if raw != nil {
				f.Add(string(raw), false)
			}
		}
	}
	f.Add(`{"user": {"subject_type": "iss-sub", "iss": "https://idp.example", "sub": "u"}}`, true)
	f.Add(`{"format": "complex", "session": {"format": "opaque", "id": "ALL"}, "user": {"format": "opaque", "id": "u"}}`, false)
	f.Fuzz(func(t *testing.T, text string, old bool) {
		doc, err := jose.ParseObject([]byte(`{"s": ` + text + `}`))
		if err != nil {
			return
		}
		subject, _ := doc.Get("s")
		r := reader{&profiles[0], []string{idp}}
		if old {
			r.profile = &profiles[len(profiles)-1]
		}
		targets, why, refused := r.targets(subject, simpleKinds{issSub: cache.User, opaque: cache.Session})
		outcomes := 0
		for _, one := range []bool{len(targets) > 0, why != "", refused != nil} {
			if one {
				outcomes++
			}
		}
		if outcomes != 1 {
			t.Fatalf("%v, %q and %v", targets, why, refused)
		}
		for _, target := range targets {
			if target.issuer != idp || len(target.members) == 0 || len(targets) > maxTargets {
				t.Fatalf("target %+v of %d", target, len(targets))
			}
			for _, m := range target.members { // never a wish for all
				if strings.TrimSpace(m.Value) == "" || m.Value == "*" || m.Kind == cache.Session && m.Value == allSessions {
					t.Fatalf("member %+v", m)
				}
			}
		}
	})
}
