package receiver

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

const revoked = caepBase + "session-revoked"

func TestSETClaims(t *testing.T) {
	many := obj{}
	for i := range maxEvents + 1 {
		many[fmt.Sprint("urn:x:", i)] = obj{}
	}
	for _, c := range []struct {
		name string
		typ  string
		more obj
		want string
	}{
		{"as it should be", setType, nil, "revoke ended subject=u1"},
		{"typ in full", "application/secevent+jwt", nil, "revoke ended subject=u1"},
		{"typ in capitals", "SecEvent+JWT", nil, "revoke ended subject=u1"},
		{"no typ", "", nil, "invalid_request: typ is not secevent+jwt"},
		{"an access token", "at+jwt", nil, "invalid_request: typ is not secevent+jwt"},
		{"a logout token", "logout+jwt", nil, "invalid_request: typ is not secevent+jwt"},
		{"another issuer", setType, obj{"iss": "https://other.example"}, "invalid_issuer: iss is not the issuer that this endpoint is for"},
		{"the issuer with a slash", setType, obj{"iss": idp + "/"}, "invalid_issuer: iss is not the issuer that this endpoint is for"},
		{"no issuer", setType, obj{"iss": nil}, "invalid_request: iss is missing, empty, too long or not a string"},
		{"another audience", setType, obj{"aud": "https://other.example"}, "invalid_audience: aud does not name this receiver"},
		{"one of two audiences", setType, obj{"aud": []string{"x", edge}}, "revoke ended subject=u1"},
		{"an audience below", setType, obj{"aud": edge + "/stream"}, "invalid_audience: aud does not name this receiver"},
		{"no audience", setType, obj{"aud": nil}, "invalid_audience: aud is missing or not of strings"},
		{"no audience in a list", setType, obj{"aud": []string{}}, "invalid_audience: aud does not name this receiver"},
		{"an audience that is no string", setType, obj{"aud": []any{edge, 1}}, "invalid_audience: aud is missing or not of strings"},
		{"no jti", setType, obj{"jti": nil}, "invalid_request: jti is missing, empty, too long or not a string"},
		{"an empty jti", setType, obj{"jti": ""}, "invalid_request: jti is missing, empty, too long or not a string"},
		{"no iat", setType, obj{"iat": nil}, "invalid_request: iat is missing or no time"},
		{"iat is a string", setType, obj{"iat": "1800000000"}, "invalid_request: iat is missing or no time"},
		{"exp", setType, obj{"exp": moment.Unix() + 60}, "invalid_request: a SET has no exp"},
		{"sub", setType, obj{"sub": "u1"}, "invalid_request: a SET names its subject in sub_id, not in sub"},
		{"txn", setType, obj{"txn": "t"}, "revoke ended subject=u1"},
		{"txn is a number", setType, obj{"txn": 1}, "invalid_request: txn is not a string"},
		{"no events", setType, obj{"events": nil}, "invalid_request: events is missing, empty or not an object"},
		{"empty events", setType, obj{"events": obj{}}, "invalid_request: events is missing, empty or not an object"},
		{"events in a list", setType, obj{"events": []any{revoked}}, "invalid_request: events is missing, empty or not an object"},
		{"too many events", setType, obj{"events": many}, "invalid_request: the SET has too many events"},
		{"two names of one event", setType, obj{"events": obj{revoked: obj{}, "urn:x": true}}, "revoke ended subject=u1\nignored unknown event type"},
		{"two events that both end sessions", setType, obj{"events": obj{revoked: obj{}, riscBase + "account-disabled": obj{}}}, "revoke ended subject=u1\nrevoke disabled subject=u1 until lifted"},
		{"two events that contradict each other", setType, obj{"events": obj{riscBase + "account-disabled": obj{}, riscBase + "account-enabled": obj{}}}, "invalid_request: the SET has two events that contradict each other"},
		{"no subject", setType, obj{"sub_id": nil}, "invalid_request: the SET names no subject"},
		{"the subject in the event", setType, obj{"sub_id": nil, "events": obj{revoked: obj{"subject": obj{"format": "opaque", "id": "s"}}}}, "invalid_request: the SET names no subject"},
		{"sub_id wins", setType, obj{"events": obj{revoked: obj{"subject": obj{"format": "opaque", "id": "s"}}}}, "revoke ended subject=u1"},
		{"claims nobody knows", setType, obj{"x": []int{1}, "toe": 5}, "revoke ended subject=u1"},
		{"a big one", setType, obj{"x": strings.Repeat("x", 45_000)}, "revoke ended subject=u1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := readAs(t, Config{}, c.typ, set(revoked, obj{}, c.more)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestSETSignature(t *testing.T) {
	ours, theirs := newSigner(t, "k"), newSigner(t, "k")
	claims := set(revoked, obj{}, nil)
	for _, c := range []struct{ name, token, want string }{
		{"another key", theirs.sign(t, setType, claims), "invalid_key: the signature does not verify"},
		{"another kid", (&signer{"k2", ours.key}).sign(t, setType, claims), "invalid_key: the key of the token is not known"},
		{"cut short", strings.TrimSuffix(ours.sign(t, setType, claims), "A") + "\n", "invalid_request: not a signed JWT in compact form"},
		{"nothing", "", "invalid_request: not a signed JWT in compact form"},
		{"a member twice", ours.sign(t, setType, `{"iss": "a", "iss": "https://idp.example"}`), "invalid_request: not a signed JWT in compact form"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wanted := 0
			r := testCore(t, Config{Keys: keys(t, ours), KeyWanted: func() { wanted++ }})
			_, _, err := r.readSET(c.token, moment)
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if want := strings.Contains(c.want, "not known"); (wanted == 1) != want {
				t.Errorf("keys were wanted %d times", wanted)
			}
		})
	}
	none := func() (*jose.KeySet, bool) { return nil, false }
	if _, _, err := testCore(t, Config{Keys: none}).readSET(ours.sign(t, setType, claims), moment); !errors.Is(err, errKeys) {
		t.Errorf("without keys: %v", err)
	}
}

func TestSource(t *testing.T) {
	s := newSigner(t, "k")
	r := testCore(t, Config{Keys: keys(t, s)})
	of := func(claims obj) Source {
		t.Helper()
		_, effects, err := r.readSET(s.sign(t, setType, claims), moment)
		if err != nil {
			t.Fatal(err)
		}
		return effects[0].Source
	}
	body := obj{"reason_admin": obj{"de": "nein", "en": "no"}}
	one := of(set(revoked, body, obj{"txn": "t"}))
	if one.Receiver != "set" || one.Issuer != idp || one.JTI != "j1" || one.TXN != "t" || one.Type != "session-revoked" || one.Reason != "no" {
		t.Errorf("source is %+v", one)
	}
	if again := of(set(revoked, body, obj{"txn": "t"})); again != one {
		t.Error("another signature of the same claims is another source")
	}
	other := of(set(revoked, body, obj{"jti": "j2"}))
	changed := of(set(revoked, obj{}, nil))
	if other.Request == one.Request || changed.Request != one.Request || changed.Content == one.Content {
		t.Error("request is not that of the jti, or content not that of the claims")
	}
	for body, want := range map[string]string{
		`{"reason_admin": "plain"}`:         "plain",
		`{"reason_admin": {"de": "nein"}}`:  "nein",
		`{"reason_admin": {}}`:              "",
		`{"reason_admin": {"en": 1}}`:       "",
		`{"reason_admin": "` + long + `"}`:  long[:len(long)-len("ä")],
		`{"reason_admin": ["a"], "x": "y"}`: "",
	} {
		b, err := jose.ParseObject([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := reasonOf(b); got != want {
			t.Errorf("reason of %.40s is %.40q", body, got)
		}
	}
	if got := of(set("urn:x:y", 1, nil)).Type; got != "urn:x:y" {
		t.Errorf("type is %q", got)
	}
}

// long is one letter more than a reason may have bytes.
var long = strings.Repeat("x", 1023) + "ä"
