# Replicas: as many as `replicas` says, on nodes that have the days, at ports that Nomad chooses; clients find them in the registry.
# docs/nomad.md.

variable "image" {
  type    = string
  default = "localhost/appia:latest"
}

variable "registry" {
  description = "What `appia keys site` prints: etcds://HOST:PORT[,HOST:PORT]/PREFIX."
  type        = string
  default     = "etcds://10.0.0.11:2379,10.0.0.12:2379,10.0.0.13:2379/appia/main"
}

variable "replicas" {
  type    = number
  default = 2
}

job "appia-rag" {
  type = "service"

  # A new release begins as one replica more. When it answers, the others follow one by one; else it is taken away again,
  # and nobody who asks has seen it fail.
  update {
    max_parallel     = 1
    canary           = 1
    auto_promote     = true
    auto_revert      = true
    health_check     = "checks"
    min_healthy_time = "15s"
    healthy_deadline = "5m"
  }

  group "rag" {
    count = var.replicas

    # Nodes that have the days: the ingester's, and those with a mirror.
    constraint {
      attribute = "${meta.appia_rag}"
      value     = "true"
    }

    spread {
      attribute = "${node.unique.id}"
    }

    network {
      mode = "host"
      port "rag" {}
      port "observe" {}
    }

    volume "state" {
      type      = "host"
      source    = "appia-state"
      read_only = true
    }

    volume "keys" {
      type      = "host"
      source    = "appia-keys-rag"
      read_only = true
    }

    restart {
      attempts = 10
      interval = "10m"
      delay    = "5s"
      mode     = "delay"
    }

    task "rag" {
      driver       = "docker"
      user         = "10001:10001"
      kill_timeout = "60s"

      config {
        image           = var.image
        network_mode    = "host"
        command         = "appia-rag"
        args            = ["--settings", "/local/rag.toml"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        pids_limit      = 256
        mount {
          type   = "tmpfs"
          target = "/tmp"
          tmpfs_options {
            size = 67108864
          }
        }
      }

      template {
        destination = "local/rag.toml"
        data        = <<-TOML
          state = "/var/lib/appia/main"
          name = "rag-{{ env "NOMAD_SHORT_ALLOC_ID" }}"
          bind = "tcp://{{ env "NOMAD_ADDR_rag" }}"
          observe = "127.0.0.1:{{ env "NOMAD_PORT_observe" }}"
          server_key = "/etc/appia/keys/server.secret"
          access = "/etc/appia/keys/access.toml"
          signing_key = "/etc/appia/keys/signing.public"
          registry = "${var.registry}"
          registry_keys = "/etc/appia/keys/registry"
        TOML
      }

      volume_mount {
        volume      = "state"
        destination = "/var/lib/appia"
        read_only   = true
      }

      volume_mount {
        volume      = "keys"
        destination = "/etc/appia/keys"
        read_only   = true
      }

      resources {
        cpu        = 500
        memory     = 700
        memory_max = 900
      }

      service {
        name     = "appia-rag"
        provider = "nomad"
        port     = "observe"
        address  = "127.0.0.1"

        check {
          type     = "http"
          path     = "/readyz"
          interval = "10s"
          timeout  = "5s"
        }
      }
    }
  }
}
