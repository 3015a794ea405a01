package main

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jwks"
	"github.com/holdfast-authz/holdfast/cmd/internal/config"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// From the words of the configuration to what each package takes. A Config
// that was loaded has known words only.

// credentialKinds are the words of a class's match.
var credentialKinds = map[string]extauthz.CredentialKind{
	"header": extauthz.CredentialHeader, "cookie": extauthz.CredentialCookie,
	"api_key": extauthz.CredentialAPIKey, "certificate": extauthz.CredentialCertificate,
}

func policyOf(c *config.Config) (*extauthz.Policy, error) {
	p := extauthz.Config{
		Mode:       modeOf(c.Mode),
		Strictest:  c.AmbiguousPaths == "strictest",
		FeedMaxAge: c.Feed.MaxAge,
		XFCC:       c.MTLS.Source == "xfcc",
		MaxKept:    maxKept(c),
		Headers: extauthz.HeaderNames{
			Subject: strings.ToLower(c.Headers.Subject),
			Session: strings.ToLower(c.Headers.Session),
			Class:   strings.ToLower(c.Headers.Class),
		},
	}
	for _, name := range c.Headers.Remove {
		p.Headers.Remove = append(p.Headers.Remove, strings.ToLower(name))
	}
	for _, one := range c.Credentials {
		p.Carriers = append(p.Carriers, extauthz.Carrier{Kind: credentialKinds[one.Word()], Name: one.Cookie + one.Header})
	}
	for i := range c.Classes {
		p.Classes = append(p.Classes, classOf(&c.Classes[i]))
	}
	for i := range c.Routes {
		p.Routes = append(p.Routes, routeOf(&c.Routes[i]))
	}
	return extauthz.NewPolicy(p)
}

// maxKept is how long a revocation is sure to be known after the token was
// issued that it is of: what feed.retention covers. A token that lives longer
// would come back (contract §8.4).
func maxKept(c *config.Config) time.Duration {
	var skew time.Duration
	for i := range c.Issuers {
		skew = max(skew, c.Issuers[i].ClockSkew)
	}
	return max(time.Second, c.Feed.Retention-2*skew)
}

// longestLife is the longest that a token of an issuer can be accepted: the
// largest max_lifetime of its classes.
func longestLife(c *config.Config, issuer string) (longest time.Duration) {
	for i := range c.Classes {
		of, life := c.Classes[i].Match.Issuers, c.Classes[i].MaxLifetime
		switch {
		case len(of) > 0 && !slices.Contains(of, issuer):
		case life > 0:
			longest = max(longest, life)
		default:
			longest = maxKept(c)
		}
	}
	return longest
}

func classOf(c *config.Class) extauthz.Class {
	class := extauthz.Class{
		Name: c.Name,
		Mode: modeOf(c.Mode), LoginURL: c.LoginURL,
		Match: extauthz.ClassMatch{
			Issuers: c.Match.Issuers,
			Clients: c.Match.Clients,
		},
		Demand: extauthz.Demand{
			Binding: bindingOf(c.Binding), MaxLifetime: c.MaxLifetime, MaxAge: c.MaxAge,
			AbsoluteTimeout: c.AbsoluteTimeout, MaxAuthAge: c.MaxAuthAge,
			ACR: c.ACR, Scopes: c.Scopes, OnFeedStale: staleOf(c.OnFeedStale),
		},
	}
	for _, typ := range c.Match.Types {
		class.Match.Types = append(class.Match.Types, token.MediaType(typ))
	}
	for _, word := range c.Match.Credential {
		class.Match.Credentials = append(class.Match.Credentials, credentialKinds[word])
	}
	if len(c.Match.Claims) > 0 {
		class.Match.Claims = make(map[string][]string, len(c.Match.Claims))
		for name, values := range c.Match.Claims {
			class.Match.Claims[name] = values
		}
	}
	return class
}

func routeOf(c *config.Route) extauthz.Route {
	route := extauthz.Route{
		Name: c.Name, Mode: modeOf(c.Mode), Anonymous: c.Anonymous,
		Demand: extauthz.Demand{
			Binding: bindingOf(c.Require.Binding), MaxLifetime: c.Require.MaxLifetime, MaxAge: c.Require.MaxAge,
			AbsoluteTimeout: c.Require.AbsoluteTimeout, MaxAuthAge: c.Require.MaxAuthAge,
			ACR: c.Require.ACR, Scopes: c.Require.Scopes, OnFeedStale: staleOf(c.Require.OnFeedStale),
		},
	}
	for _, m := range c.Match {
		route.Match = append(route.Match, extauthz.RouteMatch{Hosts: m.Hosts, Paths: m.Paths, Methods: m.Methods})
	}
	return route
}

func modeOf(word string) extauthz.Mode {
	switch word {
	case "enforce":
		return extauthz.ModeEnforce
	case "monitor":
		return extauthz.ModeMonitor
	}
	return extauthz.ModeInherit
}

func staleOf(word string) extauthz.OnFeedStale {
	switch word {
	case "error":
		return extauthz.StaleError
	case "deny":
		return extauthz.StaleDeny
	case "allow":
		return extauthz.StaleAllow
	}
	return extauthz.StaleInherit
}

func bindingOf(words []string) (methods proof.Methods) {
	for _, word := range words {
		if m, ok := proof.ParseMethod(word); ok {
			methods |= m
		}
	}
	return methods
}

func issuersOf(c *config.Config) (issuers []token.Issuer, sources []jwks.Source) {
	for i := range c.Issuers {
		one := &c.Issuers[i]
		issuers = append(issuers, token.Issuer{
			Name: one.Name(), Audiences: one.Audiences, Algorithms: one.Algorithms, Types: one.TokenTypes, Skew: one.ClockSkew,
			Claims:      token.ClaimNames{Session: one.Claims.Session, Client: one.Claims.Client, Tenant: one.Claims.Tenant, Device: one.Claims.Device},
			TrustDomain: one.TrustDomain != "", Opaque: one.Opaque(),
		})
		if one.Opaque() {
			continue
		}
		sources = append(sources, jwks.Source{
			Issuer: one.Name(), URL: one.JWKSURI, File: one.JWKSFile, Refresh: one.Refresh,
			Discover: one.Discovered(), Bundle: one.TrustDomain != "",
		})
	}
	return issuers, sources
}
