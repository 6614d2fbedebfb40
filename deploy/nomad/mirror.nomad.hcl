# Days for nodes that are not the ingester's: one mirror on each, which the replicas there read from. docs/nomad.md.

variable "image" {
  type    = string
  default = "localhost/appia:latest"
}

variable "registry" {
  description = "What `appia keys site` prints: etcds://HOST:PORT[,HOST:PORT]/PREFIX."
  type        = string
  default     = "etcds://10.0.0.11:2379,10.0.0.12:2379,10.0.0.13:2379/appia/main"
}

variable "days_from" {
  description = "Where the days are: the origin on the ingester's node, or another URL that mirrors take."
  type        = string
  default     = "appia://10.0.0.11:5574"
}

variable "budget_bytes" {
  description = "Bytes that all days may take on a node; 0 for no limit."
  type        = number
  default     = 0
}

job "appia-mirror" {
  type = "system"

  update {
    max_parallel     = 1
    health_check     = "checks"
    min_healthy_time = "15s"
    healthy_deadline = "10m"
    stagger          = "30s"
  }

  group "mirror" {
    constraint {
      attribute = "${meta.appia_mirror}"
      value     = "true"
    }

    network {
      mode = "host"
      port "mirror" {}
      port "observe" {
        static = 9604
      }
    }

    volume "state" {
      type   = "host"
      source = "appia-state"
    }

    volume "keys" {
      type      = "host"
      source    = "appia-keys-mirror"
      read_only = true
    }

    restart {
      attempts = 10
      interval = "10m"
      delay    = "5s"
      mode     = "delay"
    }

    task "mirror" {
      driver       = "docker"
      user         = "10001:10001"
      kill_timeout = "60s"

      config {
        image           = var.image
        network_mode    = "host"
        command         = "appia-mirror"
        args            = ["--settings", "/local/mirror.toml"]
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

      env {
        SQLITE_TMPDIR = "/var/lib/appia"
      }

      template {
        destination = "local/mirror.toml"
        data        = <<-TOML
          source = "${var.days_from}"
          source_key = "/etc/appia/keys/mirror.secret"
          source_server_key = "/etc/appia/keys/origin.server.public"
          state = "/var/lib/appia/main"
          name = "mirror-{{ env "node.unique.name" }}"
          bind = "tcp://{{ env "NOMAD_ADDR_mirror" }}"
          observe = "127.0.0.1:{{ env "NOMAD_PORT_observe" }}"
          server_key = "/etc/appia/keys/server.secret"
          access = "/etc/appia/keys/access.toml"
          signing_key = "/etc/appia/keys/signing.public"
          registry = "${var.registry}"
          registry_keys = "/etc/appia/keys/registry"
          budget_bytes = ${var.budget_bytes}
        TOML
      }

      volume_mount {
        volume      = "state"
        destination = "/var/lib/appia"
      }

      volume_mount {
        volume      = "keys"
        destination = "/etc/appia/keys"
        read_only   = true
      }

      resources {
        cpu        = 200
        memory     = 300
        memory_max = 400
      }

      service {
        name     = "appia-mirror"
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
