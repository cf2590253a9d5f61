//go:build linux && amd64
// +build linux,amd64

package main

// On this system trpc-go uses tnet unless told otherwise.
const tnetIsDefault = true
