package receiver

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// vector is one entry of testdata/vectors.json: samples of RFC 8417, 8935, 8936
// and 9493, of SSF, CAEP and Back-Channel Logout, and single-fault cases signed
// with the published RFC 9421 test keys.
type vector struct {
	ID, Kind         string
	Method           string
	Headers          map[string]string
	Token            string
	Body             json.RawMessage
	JWK              json.RawMessage
	Issuer, Audience string
	ClientID         string `json:"client_id"`
	Now              int64
	Claims           map[string]json.RawMessage
	SubID            json.RawMessage `json:"sub_id"`
	Subject1         json.RawMessage
	Subject2         json.RawMessage
	Status           int
	Expect           struct {
		Status        json.RawMessage
		PushStatus    int `json:"push_status"`
		Err           string
		Event         string
		Format        string `json:"sub_id_format"`
		EffectiveTime int64  `json:"effective_time"`
		Valid, Match  bool
		JTIs          []string
		URL           string
		FailsOn       string `json:"fails_on"`
		Headers       json.RawMessage
		Body          json.RawMessage
	}
}

func vectors(t testing.TB) []vector {
	t.Helper()
	doc, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(doc, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestVectors(t *testing.T) {
	list := vectors(t)
	if len(list) != 66 {
		t.Fatalf("%d vectors", len(list))
	}
	for _, v := range list {
		t.Run(v.ID, func(t *testing.T) {
			switch v.Kind {
			case "set", "set_push_request":
				v.push(t)
			case "set_push_response":
				v.pushResponse(t)
			case "set_poll_request", "set_poll_response":
				v.poll(t)
			case "set_claims":
				v.setClaims(t)
			case "subject_id":
				v.subject(t)
			case "subject_match":
				v.match(t)
			case "logout_token":
				v.logout(t)
			case "logout_token_claims":
				v.logoutClaims(t)
			case "wellknown_url":
				if got := ConfigurationURL(v.Issuer); got != v.Expect.URL {
					t.Errorf("configuration is at %s, want %s", got, v.Expect.URL)
				}
			default:
				t.Fatalf("unknown kind %s", v.Kind)
			}
		})
	}
}

// text is the body where it is a string.
func (v *vector) text(t *testing.T) (body string) {
	t.Helper()
	if v.Token != "" {
		return v.Token
	}
	if err := json.Unmarshal(v.Body, &body); err != nil {
		t.Fatal(err)
	}
	return body
}

func (v *vector) keys(t *testing.T) func() (*jose.KeySet, bool) {
	t.Helper()
	if v.JWK == nil {
		return keys(t, newSigner(t, "k"))
	}
	return parseKeys(t, obj{"keys": []any{v.JWK}})
}

func (v *vector) status(t *testing.T) (status int) {
	t.Helper()
	if v.Expect.PushStatus != 0 {
		return v.Expect.PushStatus
	}
	if err := json.Unmarshal(v.Expect.Status, &status); err != nil {
		t.Fatal(err)
	}
	return status
}

func (v *vector) push(t *testing.T) {
	m := &memory{}
	c := Config{Issuer: v.Issuer, Audience: v.Audience, Keys: v.keys(t), Sink: m.sink, Subjects: []string{"https://as.example.com"}}
	p := &SSFPush{testCore(t, c)}
	p.now = func() time.Time { return time.Unix(v.Now, 0) }
	req := httptest.NewRequest(http.MethodPost, "/events/set", strings.NewReader(v.text(t)))
	req.Header.Set("Content-Type", setMedia)
	for name, value := range v.Headers {
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, req)
	if want := v.status(t); w.Code != want {
		t.Fatalf("status %d (%s), want %d", w.Code, w.Body, want)
	}
	if w.Code == http.StatusAccepted {
		if w.Body.Len() != 0 || len(m.effects) != 1 {
			t.Errorf("body %q, effects %v", w.Body, m.show())
		}
		return
	}
	var answer wireRefusal
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	want := v.Expect.Err
	if want == "" {
		want = invalidRequest
	}
	if answer.Err != want || w.Header().Get("Content-Language") == "" || w.Header().Get("Content-Type") != "application/json" || m.calls != 0 {
		t.Errorf("answer %+v with %v, want %s", answer, w.Header(), want)
	}
}

// pushResponse holds our answers to the form of the RFC's.
func (v *vector) pushResponse(t *testing.T) {
	if v.status(t) == http.StatusAccepted {
		return // in push
	}
	var want struct {
		Err, Description string
	}
	var header map[string]string
	if json.Unmarshal(v.Expect.Body, &want) != nil || json.Unmarshal(v.Expect.Headers, &header) != nil {
		t.Fatal("not an answer")
	}
	w := httptest.NewRecorder()
	answer(w, v.status(t), refuse(want.Err, want.Description))
	var got map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, map[string]string{"err": want.Err, "description": want.Description}) || w.Code != v.status(t) {
		t.Errorf("answer %d %v", w.Code, got)
	}
	for name := range header {
		if w.Header().Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
}

// poll plays the transmitter's side of the sample.
func (v *vector) poll(t *testing.T) {
	p := newTestPoll(t, Config{Keys: v.keys(t)})
	if v.Kind == "set_poll_request" {
		var want struct {
			Ack     []string
			SetErrs map[string]wireRefusal
		}
		if err := json.Unmarshal(v.Body, &want); err != nil {
			t.Fatal(err)
		}
		p.ack, p.errs = want.Ack, want.SetErrs
		p.answer(`{"sets": {}}`)
		p.once(t)
		got := p.asked[0]
		if !slices.Equal(got.Ack, want.Ack) || !maps.Equal(got.SetErrs, want.SetErrs) {
			t.Errorf("asked %+v, want %+v", got, want)
		}
		if language := v.Headers["Content-Language"] != ""; language != (p.headers[0].Get("Content-Language") != "") {
			t.Errorf("headers %v", p.headers[0])
		}
		return
	}
	p.answer(string(v.Body))
	p.answer(`{"sets": {}}`)
	p.once(t)
	p.once(t)
	var refused []string
	for jti := range p.asked[1].SetErrs {
		refused = append(refused, jti)
	}
	slices.Sort(refused)
	slices.Sort(v.Expect.JTIs)
	if !slices.Equal(refused, v.Expect.JTIs) || len(p.asked[1].Ack) != 0 {
		t.Errorf("second poll %+v", p.asked[1])
	}
}

// setClaims signs the sample and holds the effect to its event, subject and time.
func (v *vector) setClaims(t *testing.T) {
	var iss, aud string
	for name, into := range map[string]any{"iss": &iss, "aud": &aud} {
		if err := json.Unmarshal(v.Claims[name], into); err != nil && name != "aud" {
			t.Fatal(err)
		}
	}
	if aud == "" {
		var list []string
		if err := json.Unmarshal(v.Claims["aud"], &list); err != nil {
			t.Fatal(err)
		}
		aud = list[0]
	}
	s := newSigner(t, "k")
	var subject struct {
		Iss  string
		User struct{ Iss string }
	}
	if err := json.Unmarshal(v.Claims["sub_id"], &subject); err != nil {
		t.Fatal(err)
	}
	// In some samples the subject's issuer is not the transmitter, the event is
	// later than its SET, or the SET from the year 2451.
	c := Config{Issuer: iss, Audience: aud, Keys: keys(t, s), Subjects: []string{iss}}
	for _, other := range []string{subject.Iss, subject.User.Iss} {
		if other != "" {
			c.Subjects = append(c.Subjects, other)
		}
	}
	now := time.Unix(v.Expect.EffectiveTime+1, 0)
	_, effects, err := testCore(t, c).readSET(s.sign(t, setType, v.Claims), now)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range effects {
		if !strings.HasSuffix(v.Expect.Event, "/"+e.Source.Type) || e.At.Unix() != v.Expect.EffectiveTime {
			t.Errorf("%s at %d, want %s at %d", e.Source.Type, e.At.Unix(), v.Expect.Event, v.Expect.EffectiveTime)
		}
	}
	want, ok := sampleEffects[v.ID]
	if !ok {
		want = `ignored unmatched: no session here is known by a subject of the format "` + v.Expect.Format + `"`
	}
	for i := range effects { // only what, not when or where
		effects[i].At, effects[i].Issuer = moment, idp
	}
	if got := show(effects); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// sampleEffects are those of the samples whose subject is known here.
var sampleEffects = map[string]string{
	"caep-session-revoked-1":          "revoke ended session=dMTlD|1600802906337.16|16008.16",
	"caep-session-revoked-2":          "revoke ended session=dMTlD|1600802906337.16|16008.16 subject=99beb27c-c1c2-4955-882a-e0dc4996fcbc tenant=123456789",
	"caep-session-revoked-3":          "revoke ended subject=jane.smith@example.com tenant=123456789 device=e9297990-14d2-42ec-a4a9-4036db86509a",
	"caep-token-claims-change-1":      "revoke ended token=f61t6e20zdo3px56gepu8rzlsp4c1dpc0fx7",
	"caep-token-claims-change-2":      "revoke ended token=f61t6e20zdo3px56gepu8rzlsp4c1dpc0fx7",
	"caep-credential-change-1":        "ignored a new credential ends no session",
	"caep-assurance-level-change-1":   "ignored a higher assurance level ends no session",
	"caep-assurance-level-change-2":   "revoke ended subject=jane.smith@example.com",
	"caep-device-compliance-change-1": "signal compliance tenant=123456789 device=e9297990-14d2-42ec-a4a9-4036db86509a not-compliant deny",
	"caep-session-established-1":      "ignored the event ends nothing",
	"caep-session-presented-1":        "ignored the event ends nothing",
	"caep-risk-level-change-1":        "signal risk subject=jane.doe@example.com LOW",
	"ssf-verification-1":              "verified VGhpcyBpcyBhbiBleGFtcGxlIHN0YXRlIHZhbHVlLgo= on 72e6991badb44e08a69672960053b342",
	"ssf-verification-2":              "verified VGhpcyBpcyBhbiBleGFtcGxlIHN0YXRlIHZhbHVlLgo= on f67e39a0a4d34d56b3aa1bc4cff0069f",
	"ssf-session-revoked-1":           "revoke ended subject=jane.smith@example.com device=e9297990-14d2-42ec-a4a9-4036db86509a",
	"ssf-stream-updated-1":            "stream_updated paused on f67e39a0a4d34d56b3aa1bc4cff0069f",
}

func (v *vector) subject(t *testing.T) {
	obj, err := jose.ParseObject([]byte(`{"sub_id": ` + string(v.SubID) + `}`))
	if err != nil {
		t.Fatal(err)
	}
	subject, _ := obj.Get("sub_id")
	r := reader{&profiles[0], []string{"http://issuer.example.com/", "https://idp.example.com/123456789/"}}
	if _, _, refused := r.targets(subject, aUser); (refused == nil) != v.Expect.Valid {
		t.Errorf("refused: %v", refused)
	}
}

func (v *vector) logout(t *testing.T) {
	m := &memory{}
	l, err := NewLogout(Config{Issuer: v.Issuer, Audience: v.ClientID, Keys: v.keys(t), Sink: m.sink})
	if err != nil {
		t.Fatal(err)
	}
	l.now = func() time.Time { return time.Unix(v.Now, 0) }
	w := postLogout(l, v.Token)
	if w.Code != v.status(t) || (m.calls == 1) != (w.Code == http.StatusOK) {
		t.Errorf("status %d (%s), want %d; stored %s", w.Code, w.Body, v.status(t), m.show())
	}
	if !strings.Contains(w.Body.String(), v.Expect.FailsOn) {
		t.Errorf("answer %s, want one about %s", w.Body, v.Expect.FailsOn)
	}
}

func postLogout(l http.Handler, token string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/events/backchannel-logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	l.ServeHTTP(w, req)
	return w
}

func (v *vector) logoutClaims(t *testing.T) {
	s := newSigner(t, "k")
	r := testCore(t, Config{Issuer: "https://server.example.com", Audience: "s6BhdRkqt3", Keys: keys(t, s)})
	now := time.Unix(1471566200, 0)
	_, effects, err := r.readLogout(s.sign(t, "logout+jwt", v.Claims), now)
	if (err == nil) != v.Expect.Valid || err != nil && !strings.Contains(err.Error(), v.Expect.FailsOn) {
		t.Fatalf("error %v", err)
	}
	if err == nil && effects[0].Members[0].Value != "08a5019c-17e1-4977-8f42-65a12843ea02" {
		t.Errorf("effects %s", show(effects))
	}
}
