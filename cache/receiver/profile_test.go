package receiver

import (
	"strings"
	"testing"
)

// TestProfiles shows what each transmitter really sends to each profile: what
// is strict's is everybody's, and a deviation is that of the profiles that name it.
func TestProfiles(t *testing.T) {
	user := obj{"format": "iss_sub", "iss": idp, "sub": "u1"}
	inEvent := func(event string, subject any, body obj) obj {
		return set(event, with(body, obj{"subject": subject}), obj{"sub_id": nil})
	}
	const noSubject = "invalid_request: the SET names no subject"
	for _, c := range []struct {
		name   string
		typ    string
		claims obj
		takes  string // profiles that do what want says
		want   string
		others string // why the others refuse, or what they make of it
	}{
		{
			"SSF 1.0", setType, set(revoked, obj{}, nil),
			"strict keycloak okta google sse", "revoke ended subject=u1", "",
		},
		{
			"Keycloak logs out all sessions (providers 20)", setType,
			set(revoked, obj{"event_timestamp": moment.Unix() - 1}, obj{"sub_id": obj{
				"format": "complex", "user": user, "session": obj{"format": "opaque", "id": "ALL"},
			}, "txn": "t"}),
			"strict keycloak okta google sse", "revoke ended subject=u1 -1", "",
		},
		{
			"Keycloak's audience (providers 22)", setType, set(revoked, obj{}, obj{"aud": edge + "/0b1c"}),
			"keycloak", "revoke ended subject=u1", "invalid_audience: aud does not name this receiver",
		},
		{
			"Keycloak's SSE_CAEP, complex without saying so", setType,
			inEvent(revoked, obj{"user": user, "session": obj{"format": "opaque", "id": "s1"}}, obj{}),
			"keycloak okta google sse", "revoke ended session=s1 subject=u1", noSubject,
		},
		{
			"Okta (providers 40)", setType,
			inEvent(revoked, obj{"user": user}, obj{"event_timestamp": (moment.Unix() - 7) * 1000}),
			"okta sse", "revoke ended subject=u1 -7", "",
		},
		{
			"Okta's password update", setType,
			inEvent(caepBase+"credential-change", obj{"user": user}, obj{"credential_type": "okta_verify", "change_type": "revoke"}),
			"keycloak okta google sse", "revoke ended subject=u1", noSubject,
		},
		{
			"Okta's own event without a subject", setType,
			set("https://schemas.okta.example/secevent/x", obj{}, obj{"sub_id": nil}),
			"keycloak okta google sse", "ignored unknown event type", noSubject,
		},
		{
			"Google (providers 41)", setType,
			with(inEvent(riscBase+"account-disabled", obj{"subject_type": "iss-sub", "iss": idp + "/", "sub": "u1"}, obj{"reason": "hijacking"}),
				obj{"iss": idp + "/", "aud": []string{"other", edge}}),
			"google", "revoke disabled subject=u1 until lifted", "invalid_issuer: iss is not the issuer that this endpoint is for",
		},
		{
			"Google, by ID token", setType,
			inEvent(riscBase+"sessions-revoked", obj{"subject_type": "id_token_claims", "iss": idp, "sub": "u1", "email": "x@y.example"}, obj{}),
			"google sse", "revoke ended subject=u1", "",
		},
		{
			"Google's tokens-revoked", setType,
			inEvent("https://schemas.openid.net/secevent/oauth/event-type/tokens-revoked", obj{"subject_type": "iss-sub", "iss": idp, "sub": "u1"}, obj{}),
			"google sse", "revoke ended subject=u1", "",
		},
		{
			"Google's refresh token", setType,
			inEvent("https://schemas.openid.net/secevent/oauth/event-type/token-revoked", obj{"subject_type": "oauth_token", "token_type": "refresh_token", "token_identifier_alg": "prefix", "token": "1/abc"}, obj{}),
			"google sse", "ignored unknown event type", "",
		},
		{
			"Google's verification", setType, set(riscBase+"verification", obj{"state": "s"}, obj{"sub_id": nil}),
			"google sse", "verified s", "",
		},
		{
			"SSE's verification", setType, set("https://schemas.openid.net/secevent/sse/event-type/verification", obj{"state": "s"}, nil),
			"google sse", "verified s", "ignored unknown event type",
		},
		{
			"SSE's stream", setType, set("https://schemas.openid.net/secevent/sse/event-type/stream-updated", obj{"status": "paused"}, nil),
			"google sse", "stream_updated paused", "ignored unknown event type",
		},
		{
			"authentik without typ (providers 42)", "", set(revoked, obj{}, nil),
			"sse", "revoke ended subject=u1", "invalid_request: typ is not secevent+jwt",
		},
		{
			"a numeric txn", setType, set(revoked, obj{}, obj{"txn": 17}),
			"sse", "revoke ended subject=u1", "invalid_request: txn is not a string",
		},
		{
			"sub beside", setType, set(revoked, obj{}, obj{"sub": "u2"}),
			"google sse", "revoke ended subject=u1", "invalid_request: a SET names its subject in sub_id, not in sub",
		},
		{
			"subject_type, a user's device", setType,
			set(revoked, obj{}, obj{"sub_id": obj{"subject_type": "complex", "user": obj{"subject_type": "iss-sub", "iss": idp, "sub": "u1"}, "device": obj{"subject_type": "opaque", "id": "d1"}}}),
			"google sse", "revoke ended subject=u1 device=d1", "",
		},
		{
			"exp is nobody's", setType, set(revoked, obj{}, obj{"exp": moment.Unix() + 60}),
			"", "", "invalid_request: a SET has no exp",
		},
		{
			"another typ is nobody's", "at+jwt", set(revoked, obj{}, nil),
			"", "", "invalid_request: typ is not secevent+jwt",
		},
		{
			"another issuer's user is nobody's", setType,
			set(revoked, obj{}, obj{"sub_id": obj{"format": "iss_sub", "iss": "https://other.example", "sub": "u1"}}),
			"", "", "access_denied: the transmitter does not speak for subjects of this issuer",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range profiles {
				got := readAs(t, Config{Profile: p.name}, c.typ, c.claims)
				takes := strings.Contains(" "+c.takes+" ", " "+p.name+" ")
				switch {
				case takes && got != c.want:
					t.Errorf("%s: got\n%s\nwant\n%s", p.name, got, c.want)
				case !takes && got == c.want:
					t.Errorf("%s takes it too: %s", p.name, got)
				case !takes && c.others != "" && got != c.others:
					t.Errorf("%s: got\n%s\nwant\n%s", p.name, got, c.others)
				}
			}
		})
	}
}

func TestConfig(t *testing.T) {
	good := Config{Issuer: idp, Audience: edge, Keys: keys(t, newSigner(t, "k")), Sink: (&memory{}).sink}
	if _, err := NewSSFPush(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *Config){
		"no issuer":        func(c *Config) { c.Issuer = "" },
		"no audience":      func(c *Config) { c.Audience = "" },
		"no keys":          func(c *Config) { c.Keys = nil },
		"no sink":          func(c *Config) { c.Sink = nil },
		"negative skew":    func(c *Config) { c.Skew = -1 },
		"empty issuer":     func(c *Config) { c.Subjects = []string{""} },
		"too many issuers": func(c *Config) { c.Subjects = strings.Split(strings.Repeat("x ", 17)+"x", " ") },
		"unknown profile":  func(c *Config) { c.Profile = "Strict" },
	} {
		c := good
		change(&c)
		for _, err := range []error{
			func() error { _, err := NewSSFPush(c); return err }(),
			func() error { _, err := NewSSFPoll(c); return err }(),
			func() error { _, err := NewLogout(c); return err }(),
			func() error { _, err := NewGlobalRevocation(c); return err }(),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}
	if _, err := NewSSFPoll(good); err == nil {
		t.Error("a poller without URL and client")
	}
}
