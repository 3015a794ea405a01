package token

import (
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

// Session is a verified token, in the checker's terms. After OK all of it is
// true of the token; after a reason that comes later than the signature it
// holds what was read until then; after any other it is empty. Its strings do
// not alias the credential.
type Session struct {
	Issuer   string
	Sub      string
	SID      string // an API key's id and a workload's SPIFFE ID are their sessions' too
	JTI      string // an X.509-SVID's serial number
	Client   string // the client claim, else azp
	Tenant   string
	Device   string
	KeyID    string // of the key that verified it, also where the token names none
	Type     string // JOSE typ: lower case, without "application/"; "" where absent
	ACR      string
	Scope    string
	Subject  cache.Subject // a digest for each of the above that it has
	OtherKey cache.Key     // BindingKey of jkt where cnf has x5t#S256 too, else zero

	Issued    time.Time // iat; zero where nobody says when an API key was made: no rule about age holds then
	NotBefore time.Time // nbf, zero where absent
	Auth      time.Time // auth_time, zero where absent
	Until     time.Time // exp; zero for an API key without an end

	// Asked: the issuer itself was asked about it. Then auth_time is that of its
	// session now, which may be later than iat (Keycloak's introspection).
	Asked bool

	// Lasting: its revocations are kept for ever, so that it may live for
	// longer than any of them is kept otherwise.
	Lasting bool

	// StatusURI and StatusIndex say where the token stands in a status list of
	// its issuer's; "" where it is in none.
	StatusURI   string
	StatusIndex uint64

	Confirm Confirmation
	Classes uint64 // what Config.Classify said of it

	digest [32]byte // SHA-256 of the whole credential: the memo's key
}

// Confirmation is the cnf claim (RFC 7800): the key whose proof has to come
// with the token. Where both thumbprints stand, both must be proved.
type Confirmation struct {
	Present     bool   // there is a cnf; then the token is never plain bearer
	Unsupported bool   // it has no method that is known here, or another registered one too
	X5T         string // x5t#S256 (RFC 8705, 3.1): 43 characters, or ""
	JKT         string // jkt (RFC 9449, 6.1): 43 characters, or ""
}
