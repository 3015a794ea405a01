package jwks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/holdfast-authz/holdfast/cache/dial"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

// Where an issuer's metadata may be.
const (
	openIDPath = "/.well-known/openid-configuration"       // after the issuer's path: OpenID Connect Discovery 1.0, 4
	oauthPath  = "/.well-known/oauth-authorization-server" // before it: RFC 8414, 3
)

// discover finds the URL of the issuer's key set. It is asked again at every
// refresh, since an issuer may move its keys.
func (f *fetcher) discover(ctx context.Context) (string, error) {
	location, openIDErr := f.metadata(ctx, openIDLocation(f.issuer))
	if openIDErr == nil {
		return location, nil
	}
	// Metadata that is there and does not fit is no reason to look elsewhere.
	if kindOf(openIDErr) == "metadata" || ctx.Err() != nil {
		return "", openIDErr
	}
	location, oauthErr := f.metadata(ctx, oauthLocation(f.issuer))
	if oauthErr == nil {
		return location, nil
	}
	if kindOf(oauthErr) == "metadata" {
		return "", oauthErr
	}
	return "", &fault{kindOf(openIDErr), errors.Join(openIDErr, oauthErr)}
}

// metadata reads jwks_uri from one document.
func (f *fetcher) metadata(ctx context.Context, from string) (string, error) {
	res, err := f.get(ctx, from, http.Header{"Accept": {"application/json"}})
	if err != nil {
		return "", err
	}
	doc, err := jose.ParseObject(res.body)
	if err != nil {
		return "", &fault{"content", fmt.Errorf("get %s: %w", from, err)}
	}
	// RFC 8414, 3.3: identical, or the document must not be used. It keeps one
	// issuer from passing off another's keys as its own.
	if issuer, ok := text(doc, "issuer"); !ok || issuer != f.issuer {
		return "", &fault{"metadata", fmt.Errorf("get %s: its issuer is %q, not %q: configure the issuer as it names itself", from, issuer, f.issuer)}
	}
	location, ok := text(doc, "jwks_uri")
	if !ok || location == "" {
		return "", &fault{"metadata", fmt.Errorf("get %s: it names no jwks_uri: configure one", from)}
	}
	u, err := dial.ParseURL(location)
	if err != nil {
		return "", &fault{"metadata", fmt.Errorf("get %s: jwks_uri: %w", from, err)}
	}
	// Only the configuration may name loopback; a document may not lead there.
	if dial.NamesLoopback(u.Hostname()) && !f.loopback {
		return "", &fault{"metadata", fmt.Errorf("get %s: jwks_uri is on loopback, and the issuer is not", from)}
	}
	return location, nil
}

func openIDLocation(issuer string) string { return strings.TrimSuffix(issuer, "/") + openIDPath }

func oauthLocation(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return issuer + oauthPath // not reached: the configuration was checked
	}
	root := (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
	return root + oauthPath + strings.TrimSuffix(u.EscapedPath(), "/")
}

func text(doc *jose.Object, name string) (string, bool) {
	v, ok := doc.Get(name)
	if !ok {
		return "", false
	}
	return v.Text()
}
