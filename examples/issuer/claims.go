package issuer

import (
	"maps"
	"time"
)

// DefaultType is the typ of an access token (RFC 9068, 2.1).
const DefaultType = "at+jwt"

// Claims of an access token (RFC 9068, 2.2). What is empty is left out.
type Claims struct {
	Issuer   string
	Audience []string // one is written as a text, more as a list
	Subject  string
	Client   string // client_id
	Session  string // sid
	JTI      string
	Scope    string
	ACR      string
	Auth     time.Time // auth_time
	Issued   time.Time
	Expires  time.Time

	X5T string // cnf.x5t#S256: binds the token to a certificate, see Thumbprint
	JKT string // cnf.jkt: binds it to a DPoP key, its Key.ID

	More map[string]any // any others; they replace those above
}

// Token signs a token with these claims. typ "" leaves the header without one.
func (k *Key) Token(typ string, c *Claims) (string, error) {
	header := map[string]any{"kid": k.KID}
	if typ != "" {
		header["typ"] = typ
	}
	return k.sign(header, c.members())
}

func (c *Claims) members() map[string]any {
	out := map[string]any{}
	for name, value := range map[string]string{
		"iss": c.Issuer, "sub": c.Subject, "client_id": c.Client, "sid": c.Session,
		"jti": c.JTI, "scope": c.Scope, "acr": c.ACR,
	} {
		if value != "" {
			out[name] = value
		}
	}
	for name, value := range map[string]time.Time{"iat": c.Issued, "exp": c.Expires, "auth_time": c.Auth} {
		if !value.IsZero() {
			out[name] = value.Unix()
		}
	}
	switch len(c.Audience) {
	case 0:
	case 1:
		out["aud"] = c.Audience[0]
	default:
		out["aud"] = c.Audience
	}
	cnf := map[string]string{}
	if c.X5T != "" {
		cnf["x5t#S256"] = c.X5T
	}
	if c.JKT != "" {
		cnf["jkt"] = c.JKT
	}
	if len(cnf) > 0 {
		out["cnf"] = cnf
	}
	maps.Copy(out, c.More)
	return out
}
