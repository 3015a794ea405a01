package receiver

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

const (
	endpoint = "https://edge.example/events/global-token-revocation"
	byUser   = `{"sub_id":{"format":"iss_sub","iss":"` + idp + `","sub":"u1"}}`
)

// globals is the endpoint for one issuer, over real HTTP.
type globals struct {
	*GlobalRevocation
	*memory
	signer *signer
	url    string
}

func newGlobals(t testing.TB, change func(*Config)) *globals {
	t.Helper()
	s := &globals{signer: newSigner(t, "k1"), memory: &memory{}}
	c := Config{Issuer: idp, Audience: endpoint, Keys: keys(t, s.signer), Sink: s.sink}
	if change != nil {
		change(&c)
	}
	var err error
	if s.GlobalRevocation, err = NewGlobalRevocation(c); err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return moment }
	server := httptest.NewServer(s.GlobalRevocation)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// askClaims are those of the token with which Okta asks.
func askClaims(more obj) obj {
	return with(obj{
		"iss": idp, "sub": "client-1", "aud": endpoint, "jti": "g1",
		"iat": moment.Unix(), "nbf": moment.Unix() - 300, "exp": moment.Unix() + 300,
	}, more)
}

func (s *globals) token(t testing.TB, more obj) string {
	t.Helper()
	return s.signer.sign(t, globalType, askClaims(more))
}

func (s *globals) ask(t testing.TB, token, body string) answered {
	t.Helper()
	return send(t, "POST", s.url, "application/json", body, "Authorization", "Bearer "+token)
}

// TestGlobalRevocation: whom each subject names, and what is answered.
func TestGlobalRevocation(t *testing.T) {
	user := func(format string) string { return `{"sub_id":` + format + `}` }
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"iss_sub", byUser, 204, "revoke ended subject=u1"},
		{"opaque", user(`{"format":"opaque","id":"u1"}`), 204, "revoke ended subject=u1"},
		{"subject, as Okta's guide has it", strings.Replace(byUser, "sub_id", "subject", 1), 204, "revoke ended subject=u1"},
		{"white space", "\n " + strings.ReplaceAll(byUser, ":{", " : {") + "\n", 204, "revoke ended subject=u1"},
		{"aliases", user(`{"format":"aliases","identifiers":[{"format":"email","email":"a@b.example"},{"format":"opaque","id":"u1"}]}`), 204, "revoke ended subject=u1"},
		{"two aliases", user(`{"format":"aliases","identifiers":[{"format":"opaque","id":"u1"},{"format":"opaque","id":"u2"}]}`), 204, "revoke ended subject=u1\nrevoke ended subject=u2"},

		{"email", user(`{"format":"email","email":"a@b.example"}`), 404, "ignored unmatched: no session here is known by a subject of the format \"email\""},
		{"account", user(`{"format":"account","uri":"acct:a@b.example"}`), 404, "ignored unmatched: no session here is known by a subject of the format \"account\""},
		{"phone_number", user(`{"format":"phone_number","phone_number":"+15550100"}`), 404, "ignored unmatched: no session here is known by a subject of the format \"phone_number\""},
		{"aliases of nobody", user(`{"format":"aliases","identifiers":[{"format":"email","email":"a@b.example"}]}`), 404, "ignored unmatched: no session here is known by a subject of the format \"aliases\""},

		{"another issuer's user", strings.Replace(byUser, idp, "https://other.example", 1), 403, ""},
		{"issuer with a slash", strings.Replace(byUser, idp, idp+"/", 1), 403, ""},
		{"another issuer's alias", user(`{"format":"aliases","identifiers":[{"format":"opaque","id":"u1"},{"format":"iss_sub","iss":"https://other.example","sub":"u1"}]}`), 403, ""},

		{"no format", user(`{"iss":"` + idp + `","sub":"u1"}`), 400, ""},
		{"unknown format", user(`{"format":"uid","id":"u1"}`), 400, ""},
		{"old format", user(`{"subject_type":"iss-sub","iss":"` + idp + `","sub":"u1"}`), 400, ""},
		{"format is a number", user(`{"format":1,"id":"u1"}`), 400, ""},
		{"complex", user(`{"format":"complex","user":{"format":"opaque","id":"u1"}}`), 400, ""},
		{"a whole tenant", user(`{"format":"complex","tenant":{"format":"opaque","id":"t1"}}`), 400, ""},
		{"a token", user(`{"format":"jwt_id","iss":"` + idp + `","jti":"j1"}`), 400, ""},
		{"a token among aliases", user(`{"format":"aliases","identifiers":[{"format":"jwt_id","iss":"` + idp + `","jti":"j1"}]}`), 400, ""},
		{"aliases in aliases", user(`{"format":"aliases","identifiers":[{"format":"aliases","identifiers":[{"format":"opaque","id":"u1"}]}]}`), 400, ""},
		{"empty id", user(`{"format":"opaque","id":""}`), 400, ""},
		{"white space as id", user(`{"format":"opaque","id":" "}`), 400, ""},
		{"star as id", user(`{"format":"opaque","id":"*"}`), 400, ""},
		{"id is null", user(`{"format":"opaque","id":null}`), 400, ""},
		{"more than the format has", user(`{"format":"opaque","id":"u1","sub":"u2"}`), 400, ""},
		{"no subject", `{}`, 400, ""},
		{"two subjects", `{"sub_id":{"format":"opaque","id":"u1"},"subject":{"format":"opaque","id":"u1"}}`, 400, ""},
		{"one more member", `{"sub_id":{"format":"opaque","id":"u1"},"force":true}`, 400, ""},
		{"twice", `{"sub_id":{"format":"opaque","id":"u1"},"sub_id":{"format":"opaque","id":"u2"}}`, 400, ""},
		{"twice within", user(`{"format":"opaque","id":"u1","id":"u2"}`), 400, ""},
		{"subject is text", `{"sub_id":"u1"}`, 400, ""},
		{"subject is null", `{"sub_id":null}`, 400, ""},
		{"an array", `[` + byUser + `]`, 400, ""},
		{"half", byUser[:20], 400, ""},
		{"two", byUser + byUser, 400, ""},
		{"empty", ``, 400, ""},
		{"not UTF-8", user("{\"format\":\"opaque\",\"id\":\"\xff\"}"), 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newGlobals(t, nil)
			s.ask(t, s.token(t, nil), c.body).want(t, c.status, "")
			if got := s.show(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestGlobalRevocationOfOtherIssuers: the tokens may be another one's than the
// issuer that asks, where the configuration says so.
func TestGlobalRevocationOfOtherIssuers(t *testing.T) {
	s := newGlobals(t, func(c *Config) { c.Subjects = []string{idp + "/oauth2/default", idp + "/oauth2/api"} })
	s.ask(t, s.token(t, nil), `{"sub_id":{"format":"opaque","id":"u1"}}`).want(t, 204, "")
	s.ask(t, s.token(t, obj{"jti": "g2"}), strings.Replace(byUser, idp, idp+"/oauth2/api", 1)).want(t, 204, "")
	s.ask(t, s.token(t, obj{"jti": "g3"}), byUser).want(t, 403, "")
	const want = "revoke ended subject=u1 at " + idp + "/oauth2/default\n" +
		"revoke ended subject=u1 at " + idp + "/oauth2/api\n" +
		"revoke ended subject=u1 at " + idp + "/oauth2/api"
	if got := s.show(); got != want {
		t.Errorf("got %s", got)
	}
}

// TestGlobalRevocationSource: it ends what was begun up to now, since it asks
// for all that there is, and says from whom it is.
func TestGlobalRevocationSource(t *testing.T) {
	s := newGlobals(t, nil)
	s.ask(t, s.token(t, obj{"iat": moment.Unix() - 200}), byUser).want(t, 204, "")
	e := s.effects[0]
	if !e.At.Equal(moment) || e.Source.Receiver != "global_token_revocation" || e.Source.Issuer != idp || e.Source.JTI != "g1" || e.Source.Request == (cache.Key{}) {
		t.Errorf("%+v", e)
	}
}

// TestGlobalRevocationCaller: who may not ask, by one fault each.
func TestGlobalRevocationCaller(t *testing.T) {
	s := newGlobals(t, nil)
	at := moment.Unix()
	typed := func(typ string) string { return "Bearer " + s.signer.sign(t, typ, askClaims(nil)) }
	claims := func(more obj) string { return "Bearer " + s.token(t, more) }
	for _, c := range []struct{ name, authorization, why string }{
		{"none", "", "no Authorization"},
		{"empty", " ", "no bearer token"},
		{"Basic", "Basic Y2xpZW50OnNlY3JldA==", "no bearer token"},
		{"DPoP", "DPoP " + s.token(t, nil), "no bearer token"},
		{"opaque", "Bearer f5641763544a7b24b08e4f74045", "not a signed JWT"},
		{"no scheme", s.token(t, nil), "no bearer token"},
		{"two tokens", claims(nil) + " x", "not a signed JWT"},
		{"another key", "Bearer " + newSigner(t, "k1").sign(t, globalType, askClaims(nil)), "signature"},
		{"alg none", "Bearer eyJhbGciOiJub25lIn0.e30.", "algorithm"},
		{"an access token", typed("at+jwt"), "typ"},
		{"an ID token", typed("JWT"), "typ"},
		{"no typ", typed(""), "typ"},
		{"a logout token", typed("logout+jwt"), "typ"},
		{"a SET", typed("secevent+jwt"), "typ"},
		{"another iss", claims(obj{"iss": "https://other.example"}), "iss"},
		{"no iss", claims(obj{"iss": nil}), "iss"},
		{"another aud", claims(obj{"aud": edge}), "aud"},
		{"aud with a slash", claims(obj{"aud": endpoint + "/"}), "aud"},
		{"no aud", claims(obj{"aud": nil}), "aud"},
		{"no exp", claims(obj{"exp": nil}), "exp"},
		{"expired", claims(obj{"exp": at - 30}), "expired"},
		{"valid for too long", claims(obj{"exp": at + 3601}), "longer than an hour"},
		{"no iat", claims(obj{"iat": nil}), "iat"},
		{"iat is ahead", claims(obj{"iat": at + 31}), "future"},
		{"nbf is ahead", claims(obj{"nbf": at + 31}), "not valid yet"},
		{"no jti", claims(obj{"jti": nil}), "jti"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			if c.authorization != "" {
				headers = []string{"Authorization", c.authorization}
			}
			a := send(t, "POST", s.url, "application/json", byUser, headers...)
			a.want(t, 401, c.why)
			want := `Bearer error="invalid_token"`
			if c.authorization == "" { // RFC 6750, 3.1
				want = "Bearer"
			}
			if got := a.header.Get("WWW-Authenticate"); got != want || a.code != "invalid_token" {
				t.Errorf("challenge %q, error %q", got, a.code)
			}
		})
	}
	token := s.token(t, nil)
	send(t, "POST", s.url, "application/json", byUser, "Authorization", "Bearer "+token, "Authorization", "Bearer "+token).want(t, 401, "more than one")
	send(t, "POST", s.url+"?access_token="+token, "application/json", byUser).want(t, 401, "no Authorization")
	send(t, "POST", s.url, form, "access_token="+token).want(t, 401, "no Authorization")
	if s.calls != 0 {
		t.Errorf("the sink was called %d times", s.calls)
	}
	send(t, "POST", s.url, "application/json", byUser, "Authorization", "bearer "+token).want(t, 204, "")
	s.ask(t, s.signer.sign(t, "application/Global-Token-Revocation+JWT", askClaims(obj{"jti": "g2", "aud": []string{"x", endpoint}, "nbf": nil})), byUser).want(t, 204, "")
}

// TestGlobalRevocationRequest: what is not read.
func TestGlobalRevocationRequest(t *testing.T) {
	s := newGlobals(t, nil)
	for _, c := range []struct {
		name, method, media, body string
		headers                   []string
		status                    int
	}{
		{"GET", "GET", "", "", nil, 405},
		{"PUT", "PUT", "application/json", byUser, nil, 405},
		{"form", "POST", form, byUser, nil, 415},
		{"no type", "POST", "", byUser, nil, 415},
		{"another JSON", "POST", "application/problem+json", byUser, nil, 415},
		{"gzip", "POST", "application/json", byUser, []string{"Content-Encoding", "gzip"}, 415},
		{"too long", "POST", "application/json", byUser + strings.Repeat(" ", maxBody), nil, 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := send(t, c.method, s.url, c.media, c.body, append(c.headers, "Authorization", "Bearer "+s.token(t, nil))...)
			a.want(t, c.status, "a revocation is a")
		})
	}
	if s.calls != 0 {
		t.Errorf("the sink was called %d times", s.calls)
	}
	send(t, "POST", s.url, "Application/JSON; charset=utf-8", byUser, "Authorization", "Bearer "+s.token(t, nil)).want(t, 204, "")
}

// TestGlobalRevocationRepeat: the same request again is stored once. Its token
// serves for no other.
func TestGlobalRevocationRepeat(t *testing.T) {
	s := newGlobals(t, nil)
	token := s.token(t, nil)
	s.fail(errors.New("disk full"))
	s.ask(t, token, byUser).want(t, 503, "")
	s.fail(nil)
	s.ask(t, token, byUser).want(t, 204, "")
	s.now = func() time.Time { return moment.Add(time.Minute) }
	s.ask(t, token, byUser).want(t, 204, "")
	s.ask(t, token, strings.Replace(byUser, "u1", "u2", 1)).want(t, 400, "jti was used")
	s.ask(t, s.token(t, obj{"exp": moment.Unix() + 301}), byUser).want(t, 400, "jti was used")
	if got := s.show(); got != "revoke ended subject=u1" {
		t.Errorf("got %s", got)
	}
	s.fail(ErrOtherContent) // another replica took it
	s.ask(t, s.token(t, obj{"jti": "g2"}), byUser).want(t, 400, "jti was used")
	unmatched := `{"sub_id":{"format":"email","email":"a@b.example"}}`
	s.fail(nil)
	s.ask(t, s.token(t, obj{"jti": "g3"}), unmatched).want(t, 404, "")
	s.ask(t, s.token(t, obj{"jti": "g3"}), unmatched).want(t, 404, "")
	if stats := s.Stats(); stats.Taken != 2 || stats.Repeated != 2 || stats.Failed != 1 || stats.Refused != 3 {
		t.Errorf("%+v", stats)
	}
}

// TestGlobalRevocationRaces: one token with many bodies at once serves one of them.
func TestGlobalRevocationRaces(t *testing.T) {
	var calls atomic.Int64
	begun, release := make(chan struct{}), make(chan struct{})
	s := newGlobals(t, func(c *Config) {
		c.Sink = func(context.Context, ...Effect) error {
			if calls.Add(1) == 1 {
				close(begun)
			}
			<-release
			return nil
		}
	})
	token := s.token(t, nil)
	var done, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			switch a := s.ask(t, token, strings.Replace(byUser, "u1", "u"+string(rune('a'+i)), 1)); a.status {
			case 204:
				done.Add(1)
			case 400:
				refused.Add(1)
			default:
				t.Errorf("answered %d", a.status)
			}
		})
	}
	<-begun
	close(release)
	wg.Wait()
	if calls.Load() != 1 || done.Load() != 1 || refused.Load() != 19 {
		t.Errorf("stored %d times, 204 %d times, 400 %d times", calls.Load(), done.Load(), refused.Load())
	}
}

// TestGlobalRevocationKeys: a key that is not known is waited for; then it is the
// sender's fault, and where there are none it is not.
func TestGlobalRevocationKeys(t *testing.T) {
	rotated := newSigner(t, "k2")
	var fetched atomic.Bool
	s := newGlobals(t, nil)
	before, after := s.Keys, keys(t, s.signer, rotated)
	s.Keys = func() (*jose.KeySet, bool) {
		if fetched.Load() {
			return after()
		}
		return before()
	}
	s.KeyWanted = func() { fetched.Store(true) }
	s.ask(t, rotated.sign(t, globalType, askClaims(nil)), byUser).want(t, 204, "")

	s.Keys = func() (*jose.KeySet, bool) { return nil, false }
	s.ask(t, s.token(t, obj{"jti": "g2"}), byUser).want(t, 503, "")
}
