package receiver

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

const (
	// globalType is what Okta calls the token with which it asks. The draft
	// leaves it open; without a type of its own any access token of the issuer
	// that has our audience could log out everybody.
	globalType = "global-token-revocation+jwt"

	// globalLife is the longest life of that token: less than the feed
	// remembers its jti, so that it can not be used again after that. Okta's
	// has five minutes.
	globalLife = time.Hour
)

// GlobalRevocation is the endpoint of Global Token Revocation
// (draft-parecki-oauth-global-token-revocation; Okta Universal Logout). A
// request ends all sessions that a user began before it. It is authenticated by
// a JWT of the issuer, whose jti serves for this one request.
//
// The answers are the draft's: 204 when it is stored, 400 (405, 413 and 415
// where the request was not read), 401, 403 for a user of another issuer, and
// 404 for one that no session can be known by, such as an e-mail address; and
// 503 where it could not be judged or stored.
type GlobalRevocation struct{ *core }

// NewGlobalRevocation makes the endpoint. Audience is its URL, as the issuer
// knows it; nothing that an access token has in aud.
func NewGlobalRevocation(c Config) (*GlobalRevocation, error) {
	r, err := newUnprofiled(c)
	if err != nil {
		return nil, err
	}
	return &GlobalRevocation{r}, nil
}

func (g *GlobalRevocation) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	status, err := g.serve(w, req)
	if err == nil && status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	if err == nil { // it was taken, to be counted and shown
		deny(w, status, "user_not_found", malformed("no session can be known by this subject"))
		return
	}
	refusal := g.refused(err)
	if refusal == nil {
		unavailable(w)
		return
	}
	code := invalidRequest
	switch status {
	case http.StatusUnauthorized: // RFC 6750, 3.1
		code = "invalid_token"
		challenge := "Bearer"
		if len(req.Header.Values("Authorization")) > 0 {
			challenge = `Bearer error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	case http.StatusForbidden:
		code = accessDenied
	}
	deny(w, status, code, refusal)
}

// serve takes one request. Beside an error that is no refusal the status does
// not count.
func (g *GlobalRevocation) serve(w http.ResponseWriter, req *http.Request) (status int, err error) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, malformed("a revocation is a POST")
	}
	raw, err := bearer(req)
	if err != nil {
		return http.StatusUnauthorized, err
	}
	var v *verified
	err = g.patiently(func() (err error) {
		v, err = g.caller(raw, g.now())
		return err
	})
	if err != nil {
		return http.StatusUnauthorized, err
	}
	content, status := body(w, req, "application/json")
	if status != http.StatusOK {
		return status, malformed("a revocation is a JSON object of at most 64 KiB")
	}
	effects, refused := g.meant(v, content, g.now())
	if refused != nil {
		return refused.status(), refused
	}
	if err := g.take(req.Context(), v, effects); err != nil {
		return http.StatusBadRequest, err
	}
	if effects[0].Op == Ignored {
		return http.StatusNotFound, nil
	}
	return http.StatusNoContent, nil
}

// bearer is the token in Authorization (RFC 6750, 2.1).
func bearer(req *http.Request) (string, error) {
	fields := req.Header.Values("Authorization")
	if len(fields) != 1 {
		return "", refuse(authenticationFailed, "the request has no Authorization, or more than one")
	}
	scheme, raw, _ := strings.Cut(fields[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", refuse(authenticationFailed, "the request has no bearer token")
	}
	return raw, nil
}

// caller verifies the token with which the issuer asks.
func (r *core) caller(raw string, now time.Time) (*verified, error) {
	v, err := r.verify(raw, "global_token_revocation", globalType)
	if err != nil {
		return nil, err
	}
	if err := r.lifetime(v, now); err != nil {
		return nil, err
	}
	if err := r.begun(v, now); err != nil {
		return nil, err
	}
	exp, _ := v.claims.Get("exp")
	if until, _ := exp.NumericDate(); until.Sub(v.issued) > globalLife {
		return nil, malformed("the token is valid for longer than an hour")
	}
	return v, nil
}

// meant says what the body asks for. The token does not sign the body: with
// another one it would be another request, and its jti has been used.
func (r *core) meant(v *verified, content string, now time.Time) ([]Effect, *Refusal) {
	sum := sha256.Sum256(append(v.content[:], content...))
	v.content = cache.Key(sum[:16])
	subject, refused := globalSubject(content)
	if refused != nil {
		return nil, refused
	}
	targets, why, refused := r.reader.targets(subject, simpleKinds{issSub: cache.User, opaque: cache.User})
	if refused != nil {
		return nil, refused
	}
	source := r.source(v)
	source.Type = "global-token-revocation"
	if why != "" {
		return []Effect{{Op: Ignored, At: now, Why: why, Source: source}}, nil
	}
	effects := make([]Effect, len(targets))
	for i, t := range targets {
		if len(t.members) != 1 || t.members[0].Kind != cache.User { // a whole tenant, say, or one token
			return nil, malformed("a revocation is of a user")
		}
		effects[i] = Effect{Op: Revoke, Issuer: t.issuer, Members: t.members, At: now, Source: source}
	}
	return effects, nil
}

// globalFormats are those of RFC 9493, section 3.2. The draft has no others.
var globalFormats = [...]string{"account", "email", "iss_sub", "opaque", "phone_number", "did", "uri", "aliases"}

// globalSubject is the one member of the body: sub_id, or subject, as it was
// called before draft -03 and is in Okta's older guide.
func globalSubject(content string) (none jose.Value, refused *Refusal) {
	obj, err := jose.ParseObject([]byte(content))
	if err != nil || len(obj.Members()) != 1 {
		return none, malformed("a revocation is a JSON object with sub_id and nothing else")
	}
	m := obj.Members()[0]
	if m.Name != "sub_id" && m.Name != "subject" {
		return none, malformed("a revocation is a JSON object with sub_id and nothing else")
	}
	subject, ok := m.Value.Object()
	if !ok {
		return none, malformed("the subject is not an object")
	}
	format, _ := subject.Get("format")
	if name, _ := format.Text(); !slices.Contains(globalFormats[:], name) {
		return none, malformed("the format of the subject is none that is known")
	}
	return m.Value, nil
}
