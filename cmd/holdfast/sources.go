package main

import (
	"errors"

	"github.com/holdfast-authz/holdfast/cache/apikeys"
	"github.com/holdfast-authz/holdfast/cache/introspect"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/cache/jwks"
	"github.com/holdfast-authz/holdfast/cache/statuslist"
	"github.com/holdfast-authz/holdfast/cmd/internal/admin"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// What credentials are known by: the issuers' keys, the file of API keys, and
// an issuer that is asked.

func (p *process) openKeys() (err error) {
	_, sources := issuersOf(p.config)
	if p.keys, err = jwks.New(jwks.Config{Sources: sources, Logger: p.log}); err != nil {
		return err
	}
	if c := p.config.APIKeys; c != nil {
		if p.apiKeys, err = apikeys.New(apikeys.Config{File: c.File, Logger: p.log}); err != nil {
			return err
		}
		if err := p.apiKeys.Load(); err != nil {
			return err
		}
	}
	for i := range p.config.Issuers {
		c := p.config.Issuers[i].Introspection
		if c == nil {
			continue
		}
		p.asked, err = introspect.New(introspect.Config{
			URL: c.URL, ClientID: c.ClientID, SecretFile: c.ClientSecretFile, Timeout: c.Timeout, Logger: p.log,
		})
		if err != nil {
			return err
		}
	}
	return p.openLists()
}

// openLists prepares to fetch the issuers' status lists.
func (p *process) openLists() (err error) {
	issuers, _ := issuersOf(p.config)
	var sources []statuslist.Source
	for i := range p.config.Issuers {
		lists := p.config.Issuers[i].StatusLists
		if lists == nil {
			continue
		}
		source := statuslist.Source{Issuer: issuers[i].Name, URIs: lists.URIs}
		for _, alg := range issuers[i].Algorithms {
			if name, ok := jose.Algorithm(alg); ok {
				source.Algorithms = append(source.Algorithms, name)
			}
		}
		sources = append(sources, source)
	}
	p.lists, err = statuslist.New(statuslist.Config{Sources: sources, Keys: p.keys.KeySet, Logger: p.log})
	return err
}

// apiKey looks an API key up by its digest, for the checks.
func (p *process) apiKey(sum [32]byte) (token.APIKey, bool) {
	e, ok := p.apiKeys.Lookup(sum)
	if !ok {
		return token.APIKey{}, false
	}
	return token.APIKey{ID: e.ID, Client: e.Client, Scope: e.Scope, Tenant: e.Tenant, Created: e.Created, Expires: e.Expires}, true
}

// opaque is how checks ask about tokens that are no JWT.
func (p *process) opaque() (o token.Opaque) {
	for i := range p.config.Issuers {
		if c := &p.config.Issuers[i]; c.Introspection != nil {
			o.Issuer, o.MaxAge = c.Name(), c.Introspection.MaxTTL
		}
	}
	o.Introspect = func(raw string) (*jose.Object, reason.Reason) {
		claims, err := p.asked.Introspect(raw)
		switch {
		case err == nil:
			return claims, reason.OK
		case errors.Is(err, introspect.ErrInactive):
			return nil, reason.TokenRevoked
		case errors.Is(err, introspect.ErrBusy):
			return nil, reason.Overloaded
		}
		return nil, reason.KeysUnavailable
	}
	return o
}

// sources are the lines of /readyz about them and about what other replicas
// know. None keeps a replica from its work: the file has a last good state, the
// issuer is asked anew, and a feed that is gone has a line of its own.
func (p *process) sources() (checks []admin.Check) {
	if p.apiKeys != nil {
		if s := p.apiKeys.Status(); s.Failing {
			checks = append(checks, admin.Check{Name: "api_keys", Advisory: true, Detail: "the last good file is in force: " + s.LastError})
		}
	}
	if p.asked != nil {
		if s := p.asked.Status(); s.Failing {
			checks = append(checks, admin.Check{Name: "introspection", Advisory: true, Detail: s.LastError})
		}
	}
	for _, l := range p.lists.Status() {
		if !l.Usable {
			checks = append(checks, admin.Check{Name: "status_list", Advisory: true, Detail: l.URI + ": " + l.LastError})
		}
	}
	if shared := p.config.Feed.NATS != nil || p.config.Feed.Embedded.Listen != ""; shared && !p.proofs.Stats().Listening {
		checks = append(checks, admin.Check{Name: "proofs", Advisory: true, Detail: "no connection to the feed: which DPoP proofs other replicas have seen is not heard of"})
	}
	return checks
}
