(** * Finite sums of real numbers

    A vector of N numbers is a function from natural numbers, of which only the values below N count. *)

From Coq Require Export Reals Lra.
From Coq Require Import Lia.
Open Scope R_scope.

Fixpoint sum (N : nat) (f : nat -> R) : R :=
  match N with
  | O => 0
  | S n => sum n f + f n
  end.

(** As one writes it: [Σ n < N, f n] is the sum, [∀ n < N, P n] says that P holds for each index. *)
Notation "'Σ' n < N , f" := (sum N (fun n => f)) (at level 45, n name, N at level 69, right associativity).
Notation "'∀' n < N , P" := (forall n, (n < N)%nat ->
  P) (at level 200, n name, N at level 69, P at level 200).

Lemma sum_ext N f g : (∀ n < N, f n = g n) -> sum N f = sum N g.
Proof.
  intros E. induction N as [| N IH]; [reflexivity |]. cbn. rewrite IH, E by auto. reflexivity.
Qed.

Lemma same_sum N p q f g c :
  (∀ n < N, p n = f n) -> sum N p = c -> (∀ n < N, q n = g n) -> sum N q = c -> sum N f = sum N g.
Proof. intros P Ep Q Eq. rewrite <- (sum_ext N _ _ P), <- (sum_ext N _ _ Q). congruence. Qed.

Lemma sum_add N f g : Σ n < N, (f n + g n) = sum N f + sum N g.
Proof. induction N as [| N IH]; cbn; [lra | rewrite IH; lra]. Qed.

Lemma sum_scale N c f : Σ n < N, c * f n = c * sum N f.
Proof. induction N as [| N IH]; cbn; [lra | rewrite IH; lra]. Qed.

Lemma sum_divide N c f : Σ n < N, f n / c = sum N f / c.
Proof. unfold Rdiv. rewrite Rmult_comm, <- sum_scale. apply sum_ext. intros. apply Rmult_comm. Qed.

Lemma sum_sub N f g : Σ n < N, (f n - g n) = sum N f - sum N g.
Proof. induction N as [| N IH]; cbn; [lra | rewrite IH; lra]. Qed.

Lemma sum_const N c : Σ n < N, c = INR N * c.
Proof. induction N as [| N IH]; [cbn; lra |]. rewrite S_INR. cbn. rewrite IH. lra. Qed.

Lemma sum_zeros N f : (∀ n < N, f n = 0) -> sum N f = 0.
Proof. intros E. rewrite (sum_ext N f (fun _ => 0) E), sum_const. lra. Qed.

Lemma sum_le N f g : (∀ n < N, f n <= g n) -> sum N f <= sum N g.
Proof.
  intros L. induction N as [| N IH]; cbn; [lra |].
  pose proof (L N (Nat.lt_succ_diag_r N)). apply Rplus_le_compat; auto.
Qed.

Lemma sum_nonneg N f : (∀ n < N, 0 <= f n) -> 0 <= sum N f.
Proof. intros P. rewrite <- (sum_zeros N (fun _ => 0)) by reflexivity. apply sum_le, P. Qed.

Lemma sum_abs N f : Rabs (sum N f) <= Σ n < N, Rabs (f n).
Proof.
  induction N as [| N IH]; cbn; [rewrite Rabs_R0; lra |].
  pose proof (Rabs_triang (sum N f) (f N)). lra.
Qed.

(** No term of a sum of non-negative numbers is larger than the sum. *)
Lemma term_le_sum N f m : (∀ n < N, 0 <= f n) -> (m < N)%nat -> f m <= sum N f.
Proof.
  intros P Hm. induction N as [| N IH]; [lia |]. cbn.
  pose proof (P N (Nat.lt_succ_diag_r N)).
  pose proof (sum_nonneg N f (fun n H => P n (Nat.lt_lt_succ_r _ _ H))).
  destruct (Nat.eq_dec m N) as [-> |]; [lra |].
  pose proof (IH (fun n H => P n (Nat.lt_lt_succ_r _ _ H)) ltac:(lia)). lra.
Qed.

(** Where no term is larger than another's and the sums are equal, so are the terms. *)
Lemma equal_terms N f g : (∀ n < N, f n <= g n) -> sum N f = sum N g -> ∀ n < N, f n = g n.
Proof.
  intros L E n Hn.
  assert (H : g n - f n <= Σ m < N, (g m - f m)).
  { apply (term_le_sum N (fun m => g m - f m)); [intros m Hm; pose proof (L m Hm); lra | exact Hn]. }
  rewrite sum_sub, E in H. pose proof (L n Hn). lra.
Qed.

Lemma sum_swap N M (f : nat -> nat -> R) : Σ n < N, Σ m < M, f n m = Σ m < M, Σ n < N, f n m.
Proof.
  induction N as [| N IH]; cbn; [symmetry; apply sum_zeros; reflexivity |].
  rewrite IH, <- sum_add. reflexivity.
Qed.

(** The derivative of a sum is the sum of the derivatives. *)
Lemma sum_derivative N (f : R -> nat -> R) (slope : nat -> R) t :
  (∀ n < N, derivable_pt_lim (fun t => f t n) t (slope n)) ->
    derivable_pt_lim (fun t => sum N (f t)) t (sum N slope).
Proof.
  intros D. induction N as [| N IH]; cbn; [apply derivable_pt_lim_const |].
  apply (derivable_pt_lim_plus (fun t => sum N (f t)) (fun t => f t N)); [apply IH; auto | apply D; lia].
Qed.

(** The identity matrix: 1 where the indices are equal, otherwise 0. *)
Definition identity (n m : nat) : R := if Nat.eq_dec n m then 1 else 0.

Lemma identity_symmetric n m : identity n m = identity m n.
Proof. unfold identity. destruct (Nat.eq_dec n m), (Nat.eq_dec m n); congruence. Qed.

Lemma sum_identity N n v : (n < N)%nat -> Σ m < N, identity n m * v m = v n.
Proof.
  unfold identity. intros Hn. induction N as [| N IH]; [lia |]. cbn.
  destruct (Nat.eq_dec n N) as [-> |]; [| rewrite IH by lia; lra].
  rewrite sum_zeros; [lra |]. intros m Hm. destruct (Nat.eq_dec N m); [lia | lra].
Qed.
