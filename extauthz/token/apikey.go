package token

import (
	"crypto/sha256"
	"encoding/base64"
	"time"
	"unsafe"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// APIKeys is the issuer of all API keys: its name in revocations and classes.
const APIKeys = "api_keys"

// APIKey is what is known of one key.
type APIKey struct {
	ID, Client, Scope, Tenant string
	Created, Expires          time.Time // zero where nobody says
}

// APIKey judges an API key at now and fills s. It is the client's own
// credential, so the client is its subject; the key's id names the session. A
// key has no clock of its own: no skew counts.
func (v *Verifier) APIKey(raw string, now time.Time, s *Session) reason.Reason {
	*s = Session{}
	if len(raw) > v.c.MaxBytes {
		return reason.TokenTooLarge
	}
	sum := sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw)))
	if v.c.APIKeys == nil {
		return reason.KeyUnknown
	}
	key, ok := v.c.APIKeys(sum)
	if !ok {
		return reason.KeyUnknown
	}
	*s = Session{
		Issuer: APIKeys, Sub: key.Client, SID: key.ID, JTI: key.ID, Client: key.Client, Tenant: key.Tenant,
		Scope: key.Scope, Issued: key.Created, Until: key.Expires, Lasting: true,
	}
	s.name(base64.RawURLEncoding.EncodeToString(sum[:]))
	v.classify(s, nil)
	switch {
	case !key.Expires.IsZero() && !now.Before(key.Expires):
		return reason.TokenExpired
	case key.Created.After(now): // it would begin after a revocation of today
		return reason.ClaimsInvalid
	}
	return reason.OK
}
