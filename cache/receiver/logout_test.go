package receiver

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

const form = "application/x-www-form-urlencoded"

// logouts is the endpoint of a client of idp, over real HTTP.
type logouts struct {
	*Logout
	*memory
	signer *signer
	url    string
}

func newLogouts(t testing.TB, change func(*Config)) *logouts {
	t.Helper()
	s := &logouts{signer: newSigner(t, "k1"), memory: &memory{}}
	c := Config{Issuer: idp, Audience: "client-1", Keys: keys(t, s.signer), Sink: s.sink}
	if change != nil {
		change(&c)
	}
	var err error
	if s.Logout, err = NewLogout(c); err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return moment }
	server := httptest.NewServer(s.Logout)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// logoutClaims are those of a logout of one session, as Keycloak sends them.
func logoutClaims(more obj) obj {
	return with(obj{
		"iss": idp, "aud": "client-1", "iat": moment.Unix(), "exp": moment.Unix() + 120, "jti": "l1",
		"sub": "u1", "sid": "s1", "events": obj{logoutEvent: obj{}},
	}, more)
}

func (s *logouts) token(t testing.TB, more obj) string {
	t.Helper()
	return s.signer.sign(t, "logout+jwt", logoutClaims(more))
}

// answered is what came of one request.
type answered struct {
	status      int
	code        string // error of the JSON body
	description string
	header      http.Header
}

// send posts a body, unless it is told another way, and holds the answer to the
// form that every answer has.
func send(t testing.TB, method, to, media, body string, headers ...string) answered {
	t.Helper()
	req, err := http.NewRequest(method, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, resp)
}

func readAnswer(t testing.TB, resp *http.Response) answered {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answered{status: resp.StatusCode, header: resp.Header}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%d with Cache-Control %q", a.status, got)
	}
	switch {
	case a.status == http.StatusServiceUnavailable:
		if resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	case a.status >= 400:
		var said struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		if err := json.Unmarshal(text, &said); err != nil || said.Error == "" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%d says %q as %q", a.status, text, resp.Header.Get("Content-Type"))
		}
		a.code, a.description = said.Error, said.Description
	case len(text) > 0:
		t.Errorf("%d with a body: %q", a.status, text)
	}
	return a
}

func (s *logouts) post(t testing.TB, token string) answered {
	t.Helper()
	return send(t, http.MethodPost, s.url, form, url.Values{"logout_token": {token}}.Encode())
}

// want holds an answer to a status, and refused ones to their reason.
func (a answered) want(t *testing.T, status int, why string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.description, why) {
		t.Errorf("%d %q, want %d %q", a.status, a.description, status, why)
	}
	if a.status == http.StatusBadRequest && a.code != "invalid_request" {
		t.Errorf("error is %q", a.code)
	}
}

// TestLogout: whom a token that is right logs out, and since when.
func TestLogout(t *testing.T) {
	for _, c := range []struct {
		name, typ string
		claims    obj
		want      string
	}{
		{"sid and sub", "logout+jwt", nil, "revoke ended session=s1"},
		{"sid", "logout+jwt", obj{"sub": nil}, "revoke ended session=s1"},
		{"sub", "logout+jwt", obj{"sid": nil}, "revoke ended subject=u1"},
		{"sub, told late", "logout+jwt", obj{"sid": nil, "iat": moment.Unix() - 149}, "revoke ended subject=u1 -149"},
		{"sub, clock ahead", "logout+jwt", obj{"sid": nil, "iat": moment.Unix() + 29}, "revoke ended subject=u1 +29"},
		{"fraction", "logout+jwt", obj{"sid": nil, "iat": json.Number("1799999999.75")}, "revoke ended subject=u1 -1"},
		{"typ in capitals", "Logout+JWT", nil, "revoke ended session=s1"},
		{"typ in full", "application/logout+jwt", nil, "revoke ended session=s1"},
		{"typ JWT", "JWT", nil, "revoke ended session=s1"},
		{"no typ", "", nil, "revoke ended session=s1"},
		{"several aud", "logout+jwt", obj{"aud": []string{"other", "client-1"}}, "revoke ended session=s1"},
		{"an hour's life", "logout+jwt", obj{"exp": moment.Unix() + 3600}, "revoke ended session=s1"},
		{"expired, within the skew", "logout+jwt", obj{"exp": moment.Unix() - 29}, "revoke ended session=s1"},
		{"nbf", "logout+jwt", obj{"nbf": moment.Unix() + 29}, "revoke ended session=s1"},
		{"Keycloak's boolean", "JWT", obj{"typ": "Logout", "events": obj{logoutEvent: obj{}, "revoke_offline_access": true}}, "revoke ended session=s1"},
		{"event null", "logout+jwt", obj{"events": json.RawMessage(`{"` + logoutEvent + `":null}`)}, "revoke ended session=s1"},
		{"event array", "logout+jwt", obj{"events": obj{logoutEvent: []int{1}, "x": "y"}}, "revoke ended session=s1"},
		{"other claims", "logout+jwt", obj{"auth_time": "x", "trace": obj{"nonce": 1}}, "revoke ended session=s1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newLogouts(t, nil)
			s.post(t, s.signer.sign(t, c.typ, logoutClaims(c.claims))).want(t, 200, "")
			if got := s.show(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			source := s.effects[0].Source
			if source.Receiver != "logout" || source.Issuer != idp || source.JTI != "l1" || source.Type != "backchannel-logout" {
				t.Errorf("source %+v", source)
			}
			if stats := s.Stats(); stats.Taken != 1 || stats.Refused+stats.Failed+stats.Repeated != 0 {
				t.Errorf("%+v", stats)
			}
		})
	}
}

// TestLogoutFaults: one thing wrong, and nobody is logged out.
func TestLogoutFaults(t *testing.T) {
	s := newLogouts(t, nil)
	other := newSigner(t, "k1")
	claims := func(more obj) string { return s.token(t, more) }
	typed := func(typ string) string { return s.signer.sign(t, typ, logoutClaims(nil)) }
	text := func(from, to string) string {
		doc := string(marshal(t, logoutClaims(nil)))
		if !strings.Contains(doc, from) {
			t.Fatalf("%s is not in %s", from, doc)
		}
		return s.signer.sign(t, "logout+jwt", strings.Replace(doc, from, to, 1))
	}
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	good := strings.Split(claims(nil), ".")
	header := func(header string) string { return part(header) + "." + good[1] + "." + good[2] }
	at := moment.Unix()
	for _, c := range []struct{ name, token, why string }{
		{"another key", other.sign(t, "logout+jwt", logoutClaims(nil)), "signature"},
		{"signature of another token", good[0] + "." + good[1] + "." + strings.Split(claims(obj{"jti": "l2"}), ".")[2], "signature"},
		{"no signature", good[0] + "." + good[1] + ".", "not a signed JWT"},
		{"alg none", header(`{"alg":"none","kid":"k1"}`), "algorithm"},
		{"alg none, no signature", part(`{"alg":"none"}`) + "." + good[1] + ".", "algorithm"},
		{"alg HS256", header(`{"alg":"HS256","kid":"k1"}`), "algorithm"},
		{"alg of another key", header(`{"alg":"RS256","kid":"k1"}`), "signature"},
		{"no alg", header(`{"kid":"k1"}`), "algorithm"},
		{"crit", header(`{"alg":"ES256","kid":"k1","crit":["exp"]}`), "not a signed JWT"},
		{"empty", "", "not a signed JWT"},
		{"two parts", good[0] + "." + good[1], "not a signed JWT"},
		{"five parts", strings.Join(good, ".") + ".x.y", "not a signed JWT"},
		{"white space", " " + strings.Join(good, "."), "not a signed JWT"},
		{"Bearer", "Bearer " + strings.Join(good, "."), "not a signed JWT"},
		{"payload is an array", s.signer.sign(t, "logout+jwt", `[]`), "not a signed JWT"},

		{"typ at+jwt", typed("at+jwt"), "typ"},
		{"typ secevent+jwt", typed("secevent+jwt"), "typ"},
		{"typ dpop+jwt", typed("dpop+jwt"), "typ"},
		{"typ of a revocation", typed(globalType), "typ"},
		{"typ twice over", typed("application/application/logout+jwt"), "typ"},
		{"typ is empty", header(`{"alg":"ES256","kid":"k1","typ":""}`), "typ"},

		{"no iss", claims(obj{"iss": nil}), "iss"},
		{"another iss", claims(obj{"iss": "https://idp.example.net"}), "iss"},
		{"iss with a slash", claims(obj{"iss": idp + "/"}), "iss"},
		{"iss in capitals", claims(obj{"iss": "https://IDP.example"}), "iss"},
		{"iss is a list", claims(obj{"iss": []string{idp}}), "iss"},
		{"no aud", claims(obj{"aud": nil}), "aud"},
		{"another aud", claims(obj{"aud": "client-2"}), "aud"},
		{"aud begins like ours", claims(obj{"aud": "client-1/x"}), "aud"},
		{"aud is empty", claims(obj{"aud": []string{}}), "aud"},
		{"aud with a number", claims(obj{"aud": []any{"client-1", 1}}), "aud"},
		{"no exp", claims(obj{"exp": nil}), "exp"},
		{"exp is text", claims(obj{"exp": "1800000120"}), "exp"},
		{"exp is zero", claims(obj{"exp": 0}), "expired"},
		{"exp is over", claims(obj{"exp": at - 30}), "expired"},
		{"exp is below zero", claims(obj{"exp": -1}), "exp"},
		{"exp is beyond time", claims(obj{"exp": json.Number("253402300800")}), "exp"},
		{"exp has an exponent", claims(obj{"exp": json.Number("18e8")}), "exp"},
		{"no iat", claims(obj{"iat": nil}), "iat"},
		{"iat is text", claims(obj{"iat": "1800000000"}), "iat"},
		{"iat is ahead", claims(obj{"iat": at + 31}), "iat"},
		{"FE08 iat is long ago", claims(obj{"iat": at - 152}), "two minutes"},
		{"nbf is ahead", claims(obj{"nbf": at + 31}), "not valid yet"},
		{"nbf is text", claims(obj{"nbf": "0"}), "nbf"},
		{"no jti", claims(obj{"jti": nil}), "jti"},
		{"jti is empty", claims(obj{"jti": ""}), "jti"},
		{"jti is a number", claims(obj{"jti": 7}), "jti"},
		{"jti is long", claims(obj{"jti": strings.Repeat("j", 4097)}), "jti"},

		{"no events", claims(obj{"events": nil}), "events"},
		{"events is null", text(`"events":{"`+logoutEvent+`":{}}`, `"events":null`), "events"},
		{"events is empty", claims(obj{"events": obj{}}), "events"},
		{"events is a list", claims(obj{"events": []string{logoutEvent}}), "events"},
		{"events is text", claims(obj{"events": logoutEvent}), "events"},
		{"another event", claims(obj{"events": obj{caepTypes + "session-revoked": obj{}}}), "events"},
		{"the event with https", claims(obj{"events": obj{"https" + logoutEvent[4:]: obj{}}}), "events"},
		{"the event deeper", claims(obj{"events": obj{"x": obj{logoutEvent: obj{}}}}), "events"},
		{"nonce", claims(obj{"nonce": "n"}), "nonce"},
		{"nonce is null", text(`"sid":"s1"`, `"sid":"s1","nonce":null`), "nonce"},
		{"nonce, escaped", text(`"sid":"s1"`, `"sid":"s1","\u006eonce":"n"`), "nonce"},
		{"neither sub nor sid", claims(obj{"sub": nil, "sid": nil}), "neither"},
		{"sid is empty", claims(obj{"sid": ""}), "sid"},
		{"sid is white space", claims(obj{"sid": " \t"}), "sid"},
		{"sid is a star", claims(obj{"sid": "*"}), "sid"},
		{"sid is a number", claims(obj{"sid": 1}), "sid"},
		{"sid is null", text(`"sid":"s1"`, `"sid":null`), "sid"},
		{"sid is a list", claims(obj{"sid": []string{"s1"}}), "sid"},
		{"sid is long", claims(obj{"sid": strings.Repeat("s", 4097)}), "sid"},
		{"sub is empty, beside a sid", claims(obj{"sub": ""}), "sub"},
		{"sub is a number, beside a sid", claims(obj{"sub": 1}), "sub"},
		{"sub is a star", claims(obj{"sub": "*", "sid": nil}), "sub"},
		{"sub is null", text(`"sub":"u1"`, `"sub":null`), "sub"},
		{"sid twice", text(`"sid":"s1"`, `"sid":"s1","sid":"s2"`), "not a signed JWT"},
		{"sid twice, once escaped", text(`"sid":"s1"`, `"sid":"s1","s\u0069d":"s2"`), "not a signed JWT"},
		{"not UTF-8", text(`"sid":"s1"`, "\"sid\":\"\xff\""), "not a signed JWT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.post(t, c.token).want(t, 400, c.why)
		})
	}
	if stats := s.Stats(); s.calls != 0 || stats.Taken != 0 || stats.Refused == 0 {
		t.Errorf("%d calls of the sink, %+v", s.calls, stats)
	}
	s.post(t, claims(nil)).want(t, 200, "") // what was refused used nothing up
}

// TestLogoutRequest: only a form that is posted, and in it only the body.
func TestLogoutRequest(t *testing.T) {
	s := newLogouts(t, nil)
	token := s.token(t, nil)
	good := "logout_token=" + token
	pad := func(n int) string { return good + "&x=" + strings.Repeat("x", n-len(good)-3) }
	for _, c := range []struct {
		name, method, query, media, body string
		headers                          []string
		status                           int
		why                              string
	}{
		{"GET", "GET", "?" + good, "", "", nil, 400, "POST"},
		{"PUT", "PUT", "", form, good, nil, 400, "POST"},
		{"HEAD-like DELETE", "DELETE", "?" + good, form, good, nil, 400, "POST"},
		{"in the query", "POST", "?" + good, form, "", nil, 400, "one logout_token"},
		{"in the query, beside others", "POST", "?" + good, form, "x=y", nil, 400, "one logout_token"},
		{"twice", "POST", "", form, good + "&" + good, nil, 400, "one logout_token"},
		{"twice, once escaped", "POST", "", form, good + "&logout%5Ftoken=x", nil, 400, "one logout_token"},
		{"another name", "POST", "", form, "logout-token=" + token, nil, 400, "one logout_token"},
		{"name in capitals", "POST", "", form, "Logout_Token=" + token, nil, 400, "one logout_token"},
		{"no name", "POST", "", form, token, nil, 400, "one logout_token"},
		{"empty", "POST", "", form, "", nil, 400, "one logout_token"},
		{"bad escape", "POST", "", form, good + "&x=%zz", nil, 400, "one logout_token"},
		{"semicolon", "POST", "", form, "x=y;" + good, nil, 400, "one logout_token"},
		{"JSON", "POST", "", "application/json", `{"logout_token":"` + token + `"}`, nil, 400, "form"},
		{"multipart", "POST", "", "multipart/form-data; boundary=x", good, nil, 400, "form"},
		{"text", "POST", "", "text/plain", good, nil, 400, "form"},
		{"no type", "POST", "", "", good, nil, 400, "form"},
		{"broken type", "POST", "", form + "; =", good, nil, 400, "form"},
		{"gzip", "POST", "", form, good, []string{"Content-Encoding", "gzip"}, 400, "form"},
		{"too long", "POST", "", form, pad(maxBody + 1), nil, 413, "64 KiB"},
		{"much too long", "POST", "", form, pad(8 << 20), nil, 413, "64 KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := send(t, c.method, s.url+c.query, c.media, c.body, c.headers...)
			a.want(t, c.status, c.why)
			if c.method != "POST" && a.header.Get("Allow") != "POST" {
				t.Errorf("Allow: %q", a.header.Get("Allow"))
			}
		})
	}
	t.Run("too long, in chunks", func(t *testing.T) {
		resp, err := http.Post(s.url, form, io.MultiReader(strings.NewReader(pad(maxBody+1)))) // of unknown length
		if err != nil {
			t.Fatal(err)
		}
		readAnswer(t, resp).want(t, 413, "64 KiB")
	})
	if s.calls != 0 {
		t.Fatalf("the sink was called %d times", s.calls)
	}
	for i, c := range []struct{ media, query, body string }{
		{form, "", good},
		{"Application/X-WWW-Form-Urlencoded; Charset=UTF-8", "", good},
		{form, "?logout_token=x", good},
		{form, "", "state=a&logout_token=" + token + "&a=1&a=2"},
		{form, "", pad(maxBody)},
	} {
		if a := send(t, "POST", s.url+c.query, c.media, c.body); a.status != 200 {
			t.Errorf("%d: %d %s", i, a.status, a.description)
		}
	}
}

// TestLogoutConfig: what can not work is refused at once.
func TestLogoutConfig(t *testing.T) {
	none := func() (*jose.KeySet, bool) { return nil, false }
	good := Config{Issuer: idp, Audience: "client-1", Keys: none, Sink: (&memory{}).sink}
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"issuer", func(c *Config) { c.Issuer = "" }},
		{"audience", func(c *Config) { c.Audience = "" }},
		{"keys", func(c *Config) { c.Keys = nil }},
		{"sink", func(c *Config) { c.Sink = nil }},
		{"profile", func(c *Config) { c.Profile = "google" }},
	} {
		config := good
		c.change(&config)
		if _, err := NewLogout(config); err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("logout, %s: %v", c.name, err)
		}
		if _, err := NewGlobalRevocation(config); err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("revocation, %s: %v", c.name, err)
		}
	}
}
