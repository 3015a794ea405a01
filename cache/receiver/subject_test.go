package receiver

import (
	"strings"
	"testing"
)

func TestSubjects(t *testing.T) {
	const foreign = "access_denied: the transmitter does not speak for subjects of this issuer"
	const noMembers = "invalid_request: the subject has members that its format does not have"
	const format = "ignored unmatched: no session here is known by a subject of the format "
	const enough = "ignored unmatched: what the subject names is not known here, or not enough of it is"
	user := `"user": {"format": "iss_sub", "iss": "https://idp.example", "sub": "u1"}`
	mail := `"user": {"format": "email", "email": "u1@idp.example"}`
	sid := `"session": {"format": "opaque", "id": "s1"}`
	all := `"session": {"format": "opaque", "id": "ALL"}`
	device := `"device": {"format": "opaque", "id": "d1"}`
	tenant := `"tenant": {"format": "opaque", "id": "t1"}`
	app := `"application": {"format": "opaque", "id": "c1"}`
	group := `"group": {"format": "did", "url": "did:example:1"}`
	complex := func(members ...string) string {
		return `{"format": "complex", ` + strings.Join(members, ", ") + `}`
	}
	for _, c := range []struct{ name, subject, want string }{
		{"iss_sub", `{"format": "iss_sub", "iss": "https://idp.example", "sub": "u1"}`, "revoke ended subject=u1"},
		{"iss_sub of another issuer", `{"format": "iss_sub", "iss": "https://other.example", "sub": "u1"}`, foreign},
		{"iss_sub, a slash more", `{"format": "iss_sub", "iss": "https://idp.example/", "sub": "u1"}`, foreign},
		{"iss_sub without sub", `{"format": "iss_sub", "iss": "https://idp.example"}`, "invalid_request: member sub of the subject is missing, empty, too long or not a string"},
		{"iss_sub, null", `{"format": "iss_sub", "iss": "https://idp.example", "sub": null}`, "invalid_request: member sub of the subject is missing, empty, too long or not a string"},
		{"iss_sub, a number", `{"format": "iss_sub", "iss": "https://idp.example", "sub": 1}`, "invalid_request: member sub of the subject is missing, empty, too long or not a string"},
		{"iss_sub, all", `{"format": "iss_sub", "iss": "https://idp.example", "sub": "*"}`, "invalid_request: member sub of the subject is missing, empty, too long or not a string"},
		{"iss_sub, white space", `{"format": "iss_sub", "iss": "https://idp.example", "sub": " \t"}`, "invalid_request: member sub of the subject is missing, empty, too long or not a string"},
		{"iss_sub, long", `{"format": "iss_sub", "iss": "https://idp.example", "sub": "` + strings.Repeat("u", 4097) + `"}`, "invalid_request: member sub of the subject is missing, empty, too long or not a string"},
		{"iss_sub and more", `{"format": "iss_sub", "iss": "https://idp.example", "sub": "u1", "email": "x"}`, noMembers},
		{"opaque", `{"format": "opaque", "id": "s1"}`, "revoke ended session=s1"},
		{"all sessions of whom", `{"format": "opaque", "id": "ALL"}`, format + `"opaque"`},
		{"jwt_id", `{"format": "jwt_id", "iss": "https://idp.example", "jti": "j"}`, "revoke ended token=j"},
		{"jwt_id of another issuer", `{"format": "jwt_id", "iss": "https://other.example", "jti": "j"}`, foreign},
		{"account", `{"format": "account", "uri": "acct:a@b.example"}`, format + `"account"`},
		{"email", `{"format": "email", "email": "a@b.example"}`, format + `"email"`},
		{"email, empty", `{"format": "email", "email": ""}`, "invalid_request: member email of the subject is missing, empty, too long or not a string"},
		{"phone", `{"format": "phone_number", "phone_number": "+12065550100"}`, format + `"phone_number"`},
		{"did", `{"format": "did", "url": "did:example:1"}`, format + `"did"`},
		{"uri", `{"format": "uri", "uri": "https://x.example"}`, format + `"uri"`},
		{"saml", `{"format": "saml_assertion_id", "issuer": "https://x.example", "assertion_id": "_1"}`, format + `"saml_assertion_id"`},
		{"addresses", `{"format": "ip-addresses", "ip-addresses": ["10.0.0.1"]}`, format + `"ip-addresses"`},
		{"addresses, none", `{"format": "ip-addresses", "ip-addresses": []}`, "invalid_request: the subject does not have the members of its format"},
		{"addresses, a number", `{"format": "ip-addresses", "ip-addresses": [1]}`, "invalid_request: an IP address is not a string"},
		{"unknown format", `{"format": "catalog_item", "catalog_id": "1"}`, format + `"catalog_item"`},
		{"no format", `{"iss": "https://idp.example", "sub": "u1"}`, "invalid_request: the subject has no format"},
		{"no object", `"u1"`, "invalid_request: the subject is not an object"},
		{"a format that is none", `{"format": 1}`, "invalid_request: the subject has no format"},

		{"aliases", `{"format": "aliases", "identifiers": [{"format": "email", "email": "a@b.example"}, {"format": "iss_sub", "iss": "https://idp.example", "sub": "u1"}, {"format": "opaque", "id": "s1"}]}`, "revoke ended subject=u1\nrevoke ended session=s1"},
		{"aliases, none known", `{"format": "aliases", "identifiers": [{"format": "email", "email": "a@b.example"}]}`, format + `"aliases"`},
		{"aliases, none", `{"format": "aliases", "identifiers": []}`, "invalid_request: aliases without identifiers"},
		{"aliases of aliases", `{"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": []}]}`, "invalid_request: a subject of this format can not be part of another one"},
		{"aliases, one foreign", `{"format": "aliases", "identifiers": [{"format": "iss_sub", "iss": "https://idp.example", "sub": "u1"}, {"format": "iss_sub", "iss": "https://other.example", "sub": "u1"}]}`, foreign},
		{"aliases, one no object", `{"format": "aliases", "identifiers": ["u1"]}`, "invalid_request: an alias is not an object"},
		{"aliases, too many", `{"format": "aliases", "identifiers": [` + strings.Repeat(`{"format": "opaque", "id": "s"}, `, 16) + `{"format": "opaque", "id": "s"}]}`, "invalid_request: the subject has too many aliases"},

		{"user and device and tenant", complex(user, device, tenant), "revoke ended subject=u1 tenant=t1 device=d1"},
		{"user and session", complex(user, sid), "revoke ended session=s1 subject=u1"},
		{"user and client", complex(app, user), "revoke ended subject=u1 client=c1"},
		{"every kind", complex(tenant, app, sid, device, user), "revoke ended session=s1 subject=u1 client=c1 tenant=t1 device=d1"},
		{"one member", complex(device), "revoke ended device=d1"},
		{"a whole tenant", complex(tenant), "revoke ended tenant=t1"},
		{"a client of a tenant", complex(tenant, app), "revoke ended client=c1 tenant=t1"},
		{"all sessions of a user", complex(user, all), "revoke ended subject=u1"},
		{"all sessions of a user of a tenant", complex(user, all, tenant), "revoke ended subject=u1 tenant=t1"},
		{"all sessions of nobody", complex(all), enough},
		{"all sessions of somebody by mail", complex(mail, all), enough},
		{"all sessions of a tenant", complex(all, tenant), enough},
		{"all sessions, or one, of a user", complex(user, `"session": {"format": "aliases", "identifiers": [{"format": "opaque", "id": "s1"}, {"format": "opaque", "id": "ALL"}]}`), "revoke ended subject=u1"},
		{"a device of somebody by mail", complex(mail, device), "revoke ended device=d1 without user"},
		{"a session of a user, by something unknown", complex(user, `"session": {"format": "cookie", "id": "x"}`), "revoke ended subject=u1 without session"},
		{"session of somebody by mail", complex(mail, sid), "revoke ended session=s1 without user"},
		{"user of a group", complex(user, group), "revoke ended subject=u1 without group"},
		{"a group of a tenant is not the tenant", complex(group, tenant), enough},
		{"a user by mail of a client is not the client", complex(mail, app), enough},
		{"a group", complex(group), enough},
		{"an unknown member", complex(user, `"region": {"format": "opaque", "id": "eu"}`), `ignored unmatched: the subject has a member "region" that is not known`},
		{"an unknown member and a foreign user", complex(`"region": {}`, `"user": {"format": "iss_sub", "iss": "https://other.example", "sub": "u1"}`), foreign},
		{"no members", `{"format": "complex"}`, "invalid_request: the complex subject has no members"},
		{"a member that is no object", complex(`"user": "u1"`), "invalid_request: member user of the subject is not an object"},
		{"a member without format", complex(`"user": {"iss": "https://idp.example", "sub": "u1"}`), "invalid_request: the subject has no format"},
		{"complex in complex", complex(`"user": ` + complex(device)), "invalid_request: a subject of this format can not be part of another one"},
		{"a foreign device", complex(user, `"device": {"format": "iss_sub", "iss": "https://other.example", "sub": "d1"}`), foreign},
		{"a session by its token", complex(user, `"session": {"format": "jwt_id", "iss": "https://idp.example", "jti": "j"}`), "revoke ended token=j subject=u1"},
		{"a session by its user", complex(`"session": {"format": "iss_sub", "iss": "https://idp.example", "sub": "u1"}`), enough},
		{"two tokens", complex(`"user": {"format": "jwt_id", "iss": "https://idp.example", "jti": "j"}, "session": {"format": "jwt_id", "iss": "https://idp.example", "jti": "k"}`), enough},
		{"one token twice", complex(`"user": {"format": "jwt_id", "iss": "https://idp.example", "jti": "j"}, "session": {"format": "jwt_id", "iss": "https://idp.example", "jti": "j"}`), "revoke ended token=j"},
		{"aliases in complex", complex(`"user": {"format": "aliases", "identifiers": [{"format": "email", "email": "a@b.example"}, {"format": "iss_sub", "iss": "https://idp.example", "sub": "u1"}, {"format": "opaque", "id": "u2"}]}`, device), "revoke ended subject=u1 device=d1\nrevoke ended subject=u2 device=d1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			claims := `{"iss": "https://idp.example", "aud": "https://edge.example", "iat": 1800000000, "jti": "j1", "events": {"` +
				caepBase + `session-revoked": {}}, "sub_id": ` + c.subject + `}`
			if got := read(t, "", claims); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// A transmitter may have another name than the issuers of the tokens.
func TestSubjectsOfOtherIssuers(t *testing.T) {
	c := Config{Subjects: []string{"https://a.example", "https://b.example"}}
	for _, row := range []struct {
		name    string
		subject obj
		want    string
	}{
		{"its own is not among them", obj{"format": "iss_sub", "iss": idp, "sub": "u1"}, "access_denied: the transmitter does not speak for subjects of this issuer"},
		{"one", obj{"format": "iss_sub", "iss": "https://b.example", "sub": "u1"}, "revoke ended subject=u1 at https://b.example"},
		{"each", obj{"format": "opaque", "id": "s1"}, "revoke ended session=s1 at https://a.example\nrevoke ended session=s1 at https://b.example"},
		{"the one of a member", obj{"format": "complex", "session": obj{"format": "opaque", "id": "s1"}, "user": obj{"format": "iss_sub", "iss": "https://b.example", "sub": "u1"}}, "revoke ended session=s1 subject=u1 at https://b.example"},
		{"two at once", obj{"format": "complex", "device": obj{"format": "iss_sub", "iss": "https://a.example", "sub": "d1"}, "user": obj{"format": "iss_sub", "iss": "https://b.example", "sub": "u1"}}, "ignored unmatched: what the subject names is not known here, or not enough of it is"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := readAs(t, c, setType, set(caepBase+"session-revoked", obj{}, obj{"sub_id": row.subject})); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}
