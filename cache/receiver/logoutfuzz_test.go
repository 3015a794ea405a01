package receiver

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/holdfast-authz/holdfast/cache"
)

// FuzzLogoutClaims signs any claims, and holds what is taken to a second reading of
// them, by encoding/json: whoever is logged out was named, and by a logout.
func FuzzLogoutClaims(f *testing.F) {
	s := newSigner(f, "k1")
	r := testCore(f, Config{Audience: "client-1", Keys: keys(f, s)})
	f.Add(string(marshal(f, logoutClaims(nil))))
	f.Add(string(marshal(f, logoutClaims(obj{"sid": nil, "aud": []string{"x", "client-1"}}))))
	f.Add(string(marshal(f, logoutClaims(obj{"events": obj{logoutEvent: true, "revoke_offline_access": true}}))))
	f.Fuzz(func(t *testing.T, claims string) {
		if len(claims) > maxBody {
			return // longer than what is read
		}
		_, effects, err := r.readLogout(s.sign(t, "logout+jwt", claims), moment)
		if err != nil {
			if len(effects) > 0 {
				t.Fatalf("refused with effects: %v", err)
			}
			return
		}
		c, ok := exact(claims)
		if !ok {
			t.Fatal("taken, but no claims")
		}
		now, skew := float64(moment.Unix()), defaultSkew.Seconds()
		events, _ := c["events"].(map[string]any)
		_, event := events[logoutEvent]
		_, nonce := c["nonce"]
		exp, iat := second(c["exp"]), second(c["iat"])
		switch {
		case c["iss"] != idp || c["jti"] == "" || c["jti"] == nil || !names(c["aud"], "client-1"):
			t.Fatal("not of this issuer, for this client")
		case !event || nonce:
			t.Fatal("no logout")
		case !(exp+skew > now) || !(iat <= now+skew) || c["nbf"] != nil && !(second(c["nbf"]) <= now+skew):
			t.Fatal("not valid now")
		}
		want := cache.Member{Kind: cache.User}
		if sid, ok := c["sid"]; ok {
			want.Kind = cache.Session
			want.Value, _ = sid.(string)
		} else {
			want.Value, _ = c["sub"].(string)
		}
		if len(effects) != 1 || effects[0].Op != Revoke || effects[0].Issuer != idp || len(effects[0].Members) != 1 || effects[0].Members[0] != want ||
			strings.TrimSpace(want.Value) == "" || want.Value == "*" || effects[0].At.Unix() != int64(iat) {
			t.Fatalf("%+v, want %v", effects, want)
		}
	})
}

// exact is an object as encoding/json reads it, names with their case.
func exact(text string) (all map[string]any, ok bool) {
	err := json.Unmarshal([]byte(text), &all)
	return all, err == nil && all != nil
}

func second(v any) float64 {
	n, ok := v.(float64)
	if !ok {
		return math.NaN() // in no order with any time
	}
	return math.Floor(n)
}

func names(aud any, us string) bool {
	list, ok := aud.([]any)
	if !ok {
		list = []any{aud}
	}
	for _, one := range list {
		if one == us {
			return true
		}
	}
	return false
}

// FuzzLogoutForm reads any body as a form: a token comes out of it only where
// it is there once.
func FuzzLogoutForm(f *testing.F) {
	for _, seed := range []string{"logout_token=a.b.c", "a=b&logout_token=%61", "logout_token=a&logout%5ftoken=b", "logout_token", ";", "%", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, form string) {
		token, err := logoutToken(form)
		if err != nil {
			if token != "" {
				t.Fatalf("refused with a token: %q", token)
			}
			return
		}
		found := 0
		for _, pair := range strings.Split(form, "&") {
			name, _, _ := strings.Cut(pair, "=")
			if unescape(name) == "logout_token" {
				found++
			}
		}
		if found != 1 {
			t.Fatalf("%d tokens in %q", found, form)
		}
	})
}

// unescape is the form's escaping, of what is known to be right.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '+':
			out.WriteByte(' ')
		case text[i] == '%' && i+2 < len(text):
			out.WriteByte(nibble(text[i+1])<<4 | nibble(text[i+2]))
			i += 2
		default:
			out.WriteByte(text[i])
		}
	}
	return out.String()
}

func nibble(c byte) byte { return byte(strings.IndexByte("0123456789abcdef", c|0x20)) }

// FuzzGlobalRevocation reads any body of an authenticated request: it ends the
// sessions of users that it names at the issuer, or nobody's.
func FuzzGlobalRevocation(f *testing.F) {
	s := newSigner(f, "k1")
	r := testCore(f, Config{Audience: endpoint, Keys: keys(f, s)})
	caller, err := r.caller(s.sign(f, globalType, askClaims(nil)), moment)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		byUser, `{"sub_id":{"format":"email","email":"a@b.example"}}`, `{"subject":{"format":"opaque","id":"u1"}}`,
		`{"sub_id":{"format":"aliases","identifiers":[{"format":"opaque","id":"u1"},{"format":"email","email":"a@b.example"}]}}`,
		`{"sub_id":{"format":"complex","tenant":{"format":"opaque","id":"t1"}}}`, `{"sub_id":null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		v := *caller
		effects, refused := r.meant(&v, body, moment)
		if refused != nil {
			if len(effects) > 0 {
				t.Fatalf("refused with effects: %v", refused)
			}
			return
		}
		if v.content == caller.content {
			t.Fatal("the body is no part of the content")
		}
		said, ok := exact(body)
		if !ok || len(said) != 1 {
			t.Fatal("taken, but it does not name one subject")
		}
		if len(effects) == 0 || len(effects) > maxTargets {
			t.Fatalf("%d effects", len(effects))
		}
		texts := stringsOf(body)
		for _, e := range effects {
			switch {
			case e.Op == Ignored && len(effects) == 1 && e.Why != "":
			case e.Op == Revoke && e.Issuer == idp && len(e.Members) == 1 && e.Members[0].Kind == cache.User && texts[e.Members[0].Value] && e.Members[0].Value != "*":
			default:
				t.Fatalf("%+v", e)
			}
		}
	})
}

// stringsOf are all strings of a JSON text.
func stringsOf(text string) map[string]bool {
	all := map[string]bool{}
	d := json.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if err != nil {
			return all
		}
		if word, ok := token.(string); ok {
			all[word] = true
		}
	}
}
