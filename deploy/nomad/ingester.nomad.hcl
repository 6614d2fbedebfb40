# What writes, on one node: the ingester, and the origin that serves its days to mirrors on other nodes. docs/nomad.md.

variable "image" {
  type    = string
  default = "localhost/appia:latest"
}

variable "registry" {
  description = "What `appia keys site` prints: etcds://HOST:PORT[,HOST:PORT]/PREFIX."
  type        = string
  default     = "etcds://10.0.0.11:2379,10.0.0.12:2379,10.0.0.13:2379/appia/main"
}

job "appia-ingester" {
  type = "service"

  # There is one writer, so the old one ends before the new one begins; senders wait and send again what was not
  # acknowledged. A release that does not get ready is taken back.
  update {
    max_parallel     = 1
    health_check     = "checks"
    min_healthy_time = "15s"
    healthy_deadline = "10m"
    auto_revert      = true
  }

  group "ingester" {
    count = 1

    # The node that has the state directory; set in its client configuration.
    constraint {
      attribute = "${meta.appia_ingester}"
      value     = "true"
    }

    network {
      mode = "host"
      port "intake" {
        static = 5570
      }
      port "control" {
        static = 5572
      }
      port "origin" {
        static = 5574
      }
      port "observe_ingester" {
        static = 9601
      }
      port "observe_origin" {
        static = 9603
      }
    }

    volume "state" {
      type   = "host"
      source = "appia-state"
    }

    volume "keys" {
      type      = "host"
      source    = "appia-keys-ingester"
      read_only = true
    }

    volume "keys-origin" {
      type      = "host"
      source    = "appia-keys-origin"
      read_only = true
    }

    restart {
      attempts = 10
      interval = "10m"
      delay    = "5s"
      mode     = "delay"
    }

    # The models of the image become those of the state directory.
    task "models" {
      driver = "docker"
      user   = "10001:10001"

      lifecycle {
        hook = "prestart"
      }

      config {
        image           = var.image
        network_mode    = "none"
        command         = "appia"
        args            = ["models", "install", "--state", "/var/lib/appia/main"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
      }

      volume_mount {
        volume      = "state"
        destination = "/var/lib/appia"
      }

      resources {
        cpu    = 300
        memory = 400
      }
    }

    task "ingester" {
      driver       = "docker"
      user         = "10001:10001"
      kill_timeout = "60s"

      config {
        image           = var.image
        network_mode    = "host"
        command         = "appia-ingester"
        args            = ["--settings", "/local/ingester.toml"]
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
        # SQLite sorts a large day in files without a name: on the disk, not in the memory of /tmp.
        SQLITE_TMPDIR = "/var/lib/appia"
      }

      template {
        destination = "local/ingester.toml"
        data        = <<-TOML
          state = "/var/lib/appia/main"
          keys = "/etc/appia/keys"
          v2 = "tcp://{{ env "NOMAD_ADDR_intake" }}"
          control = "tcp://{{ env "NOMAD_ADDR_control" }}"
          observe = "127.0.0.1:{{ env "NOMAD_PORT_observe_ingester" }}"
          server_key = "/etc/appia/keys/server.secret"
          access = "/etc/appia/keys/access.toml"
          registry = "${var.registry}"
          registry_keys = "/etc/appia/keys/registry"
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
        cpu        = 1000
        memory     = 900
        memory_max = 1200
      }

      service {
        name     = "appia-ingester"
        provider = "nomad"
        port     = "observe_ingester"
        address  = "127.0.0.1"

        check {
          type     = "http"
          path     = "/readyz"
          interval = "10s"
          timeout  = "5s"
        }
      }
    }

    task "origin" {
      driver       = "docker"
      user         = "10001:10001"
      kill_timeout = "30s"

      config {
        image           = var.image
        network_mode    = "host"
        command         = "appia-origin"
        args            = ["--settings", "/local/origin.toml"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        pids_limit      = 256
      }

      template {
        destination = "local/origin.toml"
        data        = <<-TOML
          state = "/var/lib/appia/main"
          bind = "tcp://{{ env "NOMAD_ADDR_origin" }}"
          observe = "127.0.0.1:{{ env "NOMAD_PORT_observe_origin" }}"
          server_key = "/etc/appia/keys/server.secret"
          access = "/etc/appia/keys/access.toml"
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
        volume      = "keys-origin"
        destination = "/etc/appia/keys"
        read_only   = true
      }

      resources {
        cpu        = 200
        memory     = 200
        memory_max = 300
      }

      service {
        name     = "appia-origin"
        provider = "nomad"
        port     = "observe_origin"
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
