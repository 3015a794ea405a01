package config

import (
	"time"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// Issuer is who issues tokens, and what its tokens look like: an OAuth or
// OpenID issuer, or a SPIFFE trust domain.
type Issuer struct {
	// The issuer's URL, exactly as in the iss claim of its tokens.
	Issuer string `yaml:"issuer"`
	// Instead of issuer: a SPIFFE trust domain, such as prod.example. Its JWT-SVIDs are tokens, and its X.509-SVIDs are credentials where credentials says so. It is also its name as an issuer, in classes and revocations.
	TrustDomain string `yaml:"trust_domain"`
	// A token must carry one of these in aud. At least one.
	Audiences []string `yaml:"audiences" jsonschema:"required,minItems=1"`
	// URL of the key set. Without it and without jwks_file the keys are discovered at the issuer (OpenID Connect Discovery, RFC 8414).
	JWKSURI string `yaml:"jwks_uri"`
	// File with the key set, instead of jwks_uri.
	JWKSFile string `yaml:"jwks_file"`
	// Signature algorithms that are accepted. EdDSA and Ed25519 are one. A trust domain takes ES, PS and RS with 256, 384 and 512 where this is left out.
	Algorithms []string `yaml:"algorithms" jsonschema:"minItems=1,enum=ES256,enum=ES384,enum=ES512,enum=EdDSA,enum=Ed25519,enum=PS256,enum=PS384,enum=PS512,enum=RS256,enum=RS384,enum=RS512" never:"none,HS256,HS384,HS512"`
	// Values of the JOSE header typ that are accepted. Case and "application/" do not count; "" is a token without typ. A trust domain takes JWT, JOSE and "" where this is left out.
	TokenTypes []string `yaml:"token_types" jsonschema:"minItems=1"`
	// How far the issuer's clock may be from ours. It widens exp, nbf and iat only. At most 5m.
	ClockSkew time.Duration `yaml:"clock_skew"`
	// How often keys are fetched, beside the checks. At least 1s.
	Refresh time.Duration `yaml:"refresh"`
	// Names of the claims that say who and what a session is.
	Claims ClaimNames `yaml:"claims"`
	// Ask the issuer what a credential means that is no JWT (RFC 7662). At one issuer at most, since such a credential does not say whose it is.
	Introspection *Introspection `yaml:"introspection"`
	// Token status lists that its tokens may name. A token that names another one can not be judged.
	StatusLists *StatusLists `yaml:"status_lists"`
}

// StatusLists says where an issuer publishes which of its tokens are still valid.
type StatusLists struct {
	// Beginnings of the lists' URIs, such as https://idp.example/statuslists/.
	URIs []string `yaml:"uris" jsonschema:"required,minItems=1"`
}

// Name is what the issuer is called in classes, revocations and metrics.
func (i *Issuer) Name() string {
	if i.TrustDomain != "" {
		return i.TrustDomain
	}
	return i.Issuer
}

// Opaque tells that there are no keys of the issuer: all its tokens are
// introspected.
func (i *Issuer) Opaque() bool {
	return i.Introspection != nil && i.JWKSURI == "" && i.JWKSFile == ""
}

// Discovered tells that the keys are looked for at the issuer itself.
func (i *Issuer) Discovered() bool {
	return i.JWKSURI == "" && i.JWKSFile == "" && i.TrustDomain == "" && i.Introspection == nil
}

// Introspection is how an issuer is asked about a token.
type Introspection struct {
	// Introspection endpoint: https, or http to a loopback host.
	URL string `yaml:"url" jsonschema:"required"`
	// Holdfast's own client at the issuer.
	ClientID string `yaml:"client_id" jsonschema:"required"`
	// File with the client's secret. Read again when it changes.
	ClientSecretFile string `yaml:"client_secret_file" jsonschema:"required"`
	// How long a check waits for the answer. At most 5s; keep it well below the proxy's timeout for a check.
	Timeout time.Duration `yaml:"timeout"`
	// How long an answer serves. A token that the issuer withdraws is still accepted for so long, unless it is revoked here. At most 5m.
	MaxTTL time.Duration `yaml:"max_ttl"`
}

// ClaimNames are the names an issuer gives to claims that no standard fixes.
type ClaimNames struct {
	// Claim with the session's id.
	Session string `yaml:"session" jsonschema:"minLength=1"`
	// Claim with the client's id. A token without it is asked for azp.
	Client string `yaml:"client" jsonschema:"minLength=1"`
	// Claim with the tenant.
	Tenant string `yaml:"tenant" jsonschema:"minLength=1"`
	// Claim with the device's id.
	Device string `yaml:"device" jsonschema:"minLength=1"`
}

// Credential is one place where a credential may be.
type Credential struct {
	// Name of the header: authorization, with the schemes Bearer and DPoP, or another one with kind api_key.
	Header string `yaml:"header"`
	// api_key: the header's value is an API key, looked up in api_keys. Left out: a token.
	Kind string `yaml:"kind" jsonschema:"enum=api_key"`
	// Name of a cookie that holds a token. One that begins with __Host- can not be set from another host of the site.
	Cookie string `yaml:"cookie"`
	// spiffe: where no other credential was sent, the peer's X.509-SVID is the credential, of a configured trust domain.
	Certificate string `yaml:"certificate" jsonschema:"enum=spiffe"`
}

// Class is a kind of session and what is demanded of it.
type Class struct {
	// Name in metadata, metrics and the class header.
	Name string `yaml:"name" jsonschema:"required"`
	// Which sessions it is. All members must hold; no member is every session.
	Match ClassMatch `yaml:"match"`
	// Proofs of which one must hold: dpop, mtls, spiffe. Empty: none is demanded, but a bound token must always be proven.
	Binding []string `yaml:"binding" jsonschema:"enum=dpop,enum=mtls,enum=spiffe"`
	// Longest life of a token, exp - iat.
	MaxLifetime time.Duration `yaml:"max_lifetime"`
	// Oldest token, now - iat.
	MaxAge time.Duration `yaml:"max_age"`
	// Longest time since the login, now - auth_time (the first iat seen where a token has none).
	AbsoluteTimeout time.Duration `yaml:"absolute_timeout"`
	// Oldest authentication, now - auth_time. An older one is asked to authenticate again (RFC 9470).
	MaxAuthAge time.Duration `yaml:"max_auth_age"`
	// Authentication contexts of which the token must have one. Another one is asked to step up (RFC 9470).
	ACR []string `yaml:"acr"`
	// Scopes that the token must have, all of them.
	Scopes []string `yaml:"scopes"`
	// enforce or monitor for this class only. Left out: as the whole configuration.
	Mode string `yaml:"mode" jsonschema:"enum=enforce,enum=monitor"`
	// When the feed is stale: error (503 as an error of holdfast), deny (503 as a denial, which a fail-open proxy cannot turn into an allow) or allow.
	OnFeedStale string `yaml:"on_feed_stale" jsonschema:"enum=error,enum=deny,enum=allow"`
	// Where a browser that goes to a page is sent instead of a 401. {url} in its query is the page's own URL, percent-encoded.
	LoginURL string `yaml:"login_url"`
}

// ClassMatch says which sessions a class is about. Each member may be one
// value or a list, of which one must hold.
type ClassMatch struct {
	// Where the credential was: header, cookie, api_key or certificate.
	Credential OneOf `yaml:"credential" jsonschema:"enum=header,enum=cookie,enum=api_key,enum=certificate"`
	// The token's issuer: its URL or trust domain. API keys are of the issuer api_keys.
	Issuers OneOf `yaml:"issuers"`
	// The token's client.
	Clients OneOf `yaml:"clients"`
	// The token's JOSE typ. Case and "application/" do not count; "" is a token without typ.
	Types OneOf `yaml:"types"`
	// Claims by name. Numbers and true or false are compared as the token writes them.
	Claims Claims `yaml:"claims"`
}

// OneOf is one value or a list of values of which one must hold; nil is any.
type OneOf = strict.OneOf

// Claims are wanted values by the claim's name.
type Claims map[string]OneOf

// Route is a kind of request and what it demands beyond the class.
type Route struct {
	// Name in metadata and metrics, and in context_extensions["holdfast_route"].
	Name string `yaml:"name" jsonschema:"required"`
	// Which requests it is: one of these must hold. Left out: only those for which Envoy names the route.
	Match []RouteMatch `yaml:"match" jsonschema:"minItems=1"`
	// What it demands.
	Require Require `yaml:"require"`
	// enforce or monitor for this route only. Left out: as the class.
	Mode string `yaml:"mode" jsonschema:"enum=enforce,enum=monitor"`
	// Allow without looking at a credential. Goes with no require.
	Anonymous bool `yaml:"anonymous"`
}

// RouteMatch says which requests a route is about: all members must hold, and
// no member is every request.
type RouteMatch struct {
	// Host names, without a port. Case does not count.
	Hosts OneOf `yaml:"hosts"`
	// Paths; /x/* is everything below /x/. Case counts, the query does not.
	Paths OneOf `yaml:"paths"`
	// HTTP methods, in upper case.
	Methods OneOf `yaml:"methods"`
}

// Require is what a route demands. The stricter of class and route holds.
type Require struct {
	// Oldest authentication, now - auth_time.
	MaxAuthAge time.Duration `yaml:"max_auth_age"`
	// Authentication contexts of which the token must have one.
	ACR []string `yaml:"acr"`
	// Proofs of which one must hold: dpop, mtls, spiffe.
	Binding []string `yaml:"binding" jsonschema:"enum=dpop,enum=mtls,enum=spiffe"`
	// Oldest token, now - iat.
	MaxAge time.Duration `yaml:"max_age"`
	// Longest life of a token, exp - iat.
	MaxLifetime time.Duration `yaml:"max_lifetime"`
	// Longest time since the login.
	AbsoluteTimeout time.Duration `yaml:"absolute_timeout"`
	// Scopes that the token must have, all of them.
	Scopes []string `yaml:"scopes"`
	// When the feed is stale: error, deny or allow.
	OnFeedStale string `yaml:"on_feed_stale" jsonschema:"enum=error,enum=deny,enum=allow"`
}
