package issuer

import (
	"crypto/rand"
	"time"
)

// Types of what an issuer says of sessions that are over.
const (
	logoutEvent    = "http://schemas.openid.net/event/backchannel-logout"
	sessionRevoked = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
)

// LogoutToken is the token of OpenID Connect Back-Channel Logout 1.0, 2.4, that
// tells a client of the end of one session.
func (i *Issuer) LogoutToken(client, sid string) (string, error) {
	now := time.Now()
	return i.signer().Token("logout+jwt", &Claims{
		Issuer: i.config.URL, Audience: []string{client}, Session: sid, JTI: rand.Text(), Issued: now, Expires: now.Add(2 * time.Minute),
		More: map[string]any{"events": map[string]any{logoutEvent: map[string]any{}}},
	})
}

// SessionRevoked is a security event token (RFC 8417) with CAEP's
// session-revoked: all sessions of a user that have begun by now are over.
func (i *Issuer) SessionRevoked(audience, user string) (string, error) {
	now := time.Now()
	return i.signer().Token("secevent+jwt", &Claims{
		Issuer: i.config.URL, Audience: []string{audience}, JTI: rand.Text(), Issued: now,
		More: map[string]any{
			"sub_id": map[string]any{"format": "iss_sub", "iss": i.config.URL, "sub": user},
			"events": map[string]any{sessionRevoked: map[string]any{"event_timestamp": now.Unix()}},
		},
	})
}

func (i *Issuer) signer() *Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}
