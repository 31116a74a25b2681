//go:build tools

// Package cluster names the programs of a control plane, so that go.sum locks them.
package cluster

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
)
