package jwks

import (
	"fmt"

	"github.com/holdfast-authz/holdfast/cache/dial"
)

// CheckURL tells whether keys may be fetched from a URL: https, or http to
// loopback; no user, no fragment, and no address that would be refused at dial.
func CheckURL(raw string) error { return dial.CheckURL(raw) }

// CheckIssuerURL tells whether an issuer may be asked for its metadata: as
// CheckURL, and no query (RFC 8414, 2).
func CheckIssuerURL(raw string) error {
	u, err := dial.ParseURL(raw)
	if err == nil && (u.RawQuery != "" || u.ForceQuery) {
		return fmt.Errorf("issuer %q has a query, which an issuer with metadata cannot have", raw)
	}
	return err
}
