package receiver

import (
	"net/http"
	"net/url"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

const (
	logoutType  = "logout+jwt" // section 2.4
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

	// logoutAge is how long after its iat a logout token counts: issuers send it
	// at once and once (ASVS 10.5.5; security case FE08). The skew comes on top.
	logoutAge = 2 * time.Minute
)

// Logout is the endpoint of OpenID Connect Back-Channel Logout 1.0 for one
// client of an issuer. It answers 200 when the logout is stored, 400 to what is
// no logout token for this client (section 2.8; 413 to what is too long), and
// 503 where it could not be judged or stored. No answer may be cached.
type Logout struct{ *core }

// NewLogout makes the endpoint. Audience is the client's id.
func NewLogout(c Config) (*Logout, error) {
	r, err := newUnprofiled(c)
	if err != nil {
		return nil, err
	}
	return &Logout{r}, nil
}

func (l *Logout) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Cache-Control", "no-store") // 2.8
	status, err := l.serve(w, req)
	if err == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	if refusal := l.refused(err); refusal != nil {
		deny(w, status, invalidRequest, refusal)
		return
	}
	unavailable(w)
}

// serve takes one logout. The status is that of a refusal.
func (l *Logout) serve(w http.ResponseWriter, req *http.Request) (status int, err error) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusBadRequest, malformed("a logout is a POST")
	}
	form, status := body(w, req, "application/x-www-form-urlencoded")
	switch status {
	case http.StatusOK:
	case http.StatusUnsupportedMediaType:
		return http.StatusBadRequest, malformed("a logout is a form")
	default:
		return status, malformed("a logout is a form of at most 64 KiB")
	}
	raw, err := logoutToken(form)
	if err != nil {
		return http.StatusBadRequest, err
	}
	var v *verified
	var effects []Effect
	err = l.patiently(func() (err error) {
		v, effects, err = l.readLogout(raw, l.now())
		return err
	})
	if err == nil {
		err = l.take(req.Context(), v, effects)
	}
	return http.StatusBadRequest, err
}

// logoutToken finds the token in the body (2.5), never in the query. Other
// values may be there and say nothing.
func logoutToken(form string) (string, error) {
	values, err := url.ParseQuery(form)
	if tokens := values["logout_token"]; err != nil || len(tokens) != 1 {
		return "", malformed("a logout is a form with one logout_token")
	}
	return values.Get("logout_token"), nil
}

// readLogout verifies a logout token (2.6) and says whom it logs out (2.7).
//
// It ends what began before its iat.
func (r *core) readLogout(raw string, now time.Time) (*verified, []Effect, error) {
	// contract §10: issuers from before the type say JWT or nothing.
	v, err := r.verify(raw, "logout", logoutType, "jwt", "")
	if err != nil {
		return nil, nil, err
	}
	if err := r.lifetime(v, now); err != nil {
		return nil, nil, err
	}
	if err := r.begun(v, now); err != nil {
		return nil, nil, err
	}
	if now.Sub(v.issued) > logoutAge+r.Skew {
		return nil, nil, malformed("iat is more than two minutes ago")
	}
	member, _ := v.claims.Get("events")
	events, ok := member.Object()
	switch {
	// The event may be any JSON value, and others may stand beside it:
	// Keycloak's revoke_offline_access is a boolean. It changes nothing, since
	// the tokens of an offline session have the sid of the session it is from.
	case !ok || !events.Has(logoutEvent):
		return nil, nil, malformed("events has no " + logoutEvent)
	case v.claims.Has("nonce"): // it would be an ID token
		return nil, nil, malformed("a logout token has no nonce")
	}
	whom, err := loggedOut(v)
	if err != nil {
		return nil, nil, err
	}
	source := r.source(v)
	source.Type = "backchannel-logout"
	var effects []Effect
	for _, t := range r.reader.at("", []cache.Member{whom}, nil) {
		effects = append(effects, Effect{Op: Revoke, Issuer: t.issuer, Members: t.members, At: v.issued, Source: source})
	}
	return v, effects, nil
}

// loggedOut is the session that a logout token names, whoever's it is, else the
// user. Both claims are read, so that none is wrong beside the other.
func loggedOut(v *verified) (whom cache.Member, err error) {
	for _, claim := range [...]struct {
		name string
		kind cache.Kinds
	}{{"sub", cache.User}, {"sid", cache.Session}} {
		if !v.claims.Has(claim.name) {
			continue
		}
		value, err := text(v.claims, claim.name)
		if err != nil {
			return whom, err
		}
		if value == "*" { // no name, but a wish for all (security case RV16)
			return whom, malformed(claim.name + " is no name")
		}
		whom = cache.Member{Kind: claim.kind, Value: value}
	}
	if whom.Kind == 0 {
		return whom, malformed("the logout token has neither sub nor sid")
	}
	return whom, nil
}
