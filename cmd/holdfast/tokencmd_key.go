package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/examples/issuer"
)

const (
	keyUse = "the private key in `FILE`, PEM or JWK; made when it is not there"
	algUse = "algorithm: ES256, ES384, ES512, EdDSA, PS256, RS256, ... (default: the key's usual one, ES256 for a new one)"
)

// checkAlg gives the one name of an algorithm that signs.
func checkAlg(alg string) (string, error) {
	if alg == "" {
		return "", nil
	}
	name, ok := jose.Algorithm(alg)
	if !ok {
		return "", &exitError{exitUsage, fmt.Errorf("--alg %q is not known: use one of %s", alg, strings.Join(issuer.Algorithms(), ", "))}
	}
	return name, nil
}

// loadKey reads a private key. Where there is no file it makes one, and says so.
func loadKey(path, alg string, stderr io.Writer) (*issuer.Key, error) {
	doc, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var made bool
		if doc, made, err = makeKey(path, alg); made {
			fmt.Fprintf(stderr, "holdfast: made a new private key in %s, for development only\n", path)
		}
	}
	if err != nil {
		return nil, err
	}
	key, err := issuer.ParseKey(doc, alg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// makeKey puts a new key into a file that is not there yet. Of two commands in
// one pipe that both do, one wins and both go on with its key: the file gets
// its name when it is whole, and only if nobody has it.
func makeKey(path, alg string) (doc []byte, made bool, err error) {
	key, err := issuer.NewKey(alg)
	if err != nil {
		return nil, false, err
	}
	if doc, err = key.PEM(); err != nil {
		return nil, false, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // with mode 0600
	if err != nil {
		return nil, false, fmt.Errorf("make the key %s: %w", path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a second name of the same file
	_, err = f.Write(doc)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Link(f.Name(), path)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		doc, err = os.ReadFile(path)
		return doc, false, err
	case err != nil:
		return nil, false, fmt.Errorf("make the key %s: %w", path, err)
	}
	return doc, true, nil
}

// writeJWKS writes a key set that holds this key. It replaces only what is a
// key set, never a private key or a configuration.
func writeJWKS(path string, key *issuer.Key) error {
	doc := append(issuer.KeySet(key), '\n')
	old, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case bytes.Equal(old, doc):
		return nil
	case len(bytes.TrimSpace(old)) > 0:
		_, err := jose.ParseKeySet(old)
		if _, bundle := jose.ParseBundle(old); err != nil && bundle != nil {
			return fmt.Errorf("%s is there and is no set of public keys, it is not overwritten: name another file with --jwks", path)
		}
	}
	if err := renameio.WriteFile(path, doc, 0o644); err != nil {
		return fmt.Errorf("write the key set: %w", err)
	}
	return nil
}

// readThumbprint is the x5t#S256 of a certificate: the first of a PEM file, as
// a client presents it, or DER.
func readThumbprint(path string) (string, error) {
	doc, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	der := doc
	for block, rest := pem.Decode(doc); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			der = block.Bytes
			break
		}
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return "", fmt.Errorf("%s holds no certificate in PEM or DER: %w", path, err)
	}
	return issuer.Thumbprint(der), nil
}
