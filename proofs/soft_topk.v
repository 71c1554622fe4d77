(** * Soft top-k

    The weights are clip(z_n/ε − τ, 0, 1)/k, with the τ for which they sum to 1. *)

From Coq Require Import Lia.
From TensorMoE Require Import sums jacobian threshold sparsemax.

(** x, but no less than 0 and no more than 1. *)
Definition clip (x : R) : R := Rmin (part x) 1.

Lemma clip_nonneg x : 0 <= clip x.
Proof. apply Rmin_glb; [apply part_nonneg | lra]. Qed.

Lemma clip_at_most_one x : clip x <= 1.
Proof. apply Rmin_r. Qed.

Lemma clip_low x : x <= 0 -> clip x = 0.
Proof. intros L. unfold clip. rewrite part_low by exact L. apply Rmin_left. lra. Qed.

Lemma clip_high x : 1 <= x -> 1 <= clip x.
Proof. intros L. unfold clip. rewrite part_high by lra. apply Rmin_glb; lra. Qed.

Lemma clip_inside x : 0 < clip x < 1 -> clip x = x.
Proof. unfold clip, part, Rmax, Rmin. destruct (Rle_dec x 0); destruct (Rle_dec _ 1); lra. Qed.

Lemma clip_rises x y : x <= y -> clip x <= clip y.
Proof. intros L. apply Rle_min_compat_r, part_rises, L. Qed.

Lemma clip_continuous : continuity clip.
Proof.
  intros x eps Heps. exists eps. split; [exact Heps |]. cbn. unfold R_dist. intros y [_ D].
  apply Rle_lt_trans with (2 := D). unfold clip, part, Rmax, Rmin.
  destruct (Rle_dec y 0), (Rle_dec x 0); repeat destruct (Rle_dec _ 1); unfold Rabs;
    repeat destruct (Rcase_abs _); lra.
Qed.

Section SoftTopK.

Variables (N k : nat) (eps : R).
Hypothesis k_positive : (0 < k)%nat.
Hypothesis eps_positive : 0 < eps.

(** p is the soft choice of k of the logits z: the equation that the library solves for τ. *)
Definition is_soft_top_k (z p : nat -> R) : Prop :=
  exists tau, (∀ n < N, p n = clip (z n / eps - tau) / INR k) /\ sum N p = 1.

Lemma k_is_at_least_one : 1 <= INR k.
Proof. exact (le_INR 1 k k_positive). Qed.

(** No weight is negative. *)
Theorem soft_top_k_nonnegative z p : is_soft_top_k z p -> ∀ n < N, 0 <= p n.
Proof.
  intros [tau [W _]] n Hn. rewrite W by exact Hn. pose proof k_is_at_least_one.
  apply Rle_mult_inv_pos; [apply clip_nonneg | lra].
Qed.

(** No weight is larger than 1/k. *)
Theorem soft_top_k_at_most_a_kth z p : is_soft_top_k z p -> ∀ n < N, p n <= 1 / INR k.
Proof.
  intros [tau [W _]] n Hn. rewrite W by exact Hn. pose proof k_is_at_least_one.
  apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; lra | apply clip_at_most_one].
Qed.

(** The weights sum to 1. *)
Theorem soft_top_k_sums_to_one z p : is_soft_top_k z p -> Σ n < N, p n = 1.
Proof. intros [_ [_ E]]. exact E. Qed.

(** So k p, whose entries lie between 0 and 1, sums to k. *)
Lemma clipped_sum z p tau :
  (∀ n < N, p n = clip (z n / eps - tau) / INR k) -> Σ n < N, clip (z n / eps - tau) = INR k * sum N p.
Proof.
  intros W. rewrite (sum_ext N _ _ W), <- sum_scale. apply sum_ext. intros. field.
  pose proof k_is_at_least_one. lra.
Qed.

(** There is a soft choice of k, if there are at least k logits. *)
Theorem soft_top_k_exists z : (k <= N)%nat -> exists p, is_soft_top_k z p.
Proof.
  intros L. pose proof k_is_at_least_one.
  destruct (threshold_exists clip N clip_continuous clip_low clip_high (fun n => z n / eps) (INR k)) as [tau
    E].
  - pose proof (le_INR k N L). lra.
  - exists (fun n => clip (z n / eps - tau) / INR k), tau. split; [reflexivity |].
    rewrite sum_divide, E. field. lra.
Qed.

(** There is only one: the equation determines the weights. (It may not determine τ: where k logits lie far
    above the others, each τ between does.) *)
Theorem soft_top_k_unique z p q : is_soft_top_k z p -> is_soft_top_k z q -> ∀ n < N, p n = q n.
Proof.
  intros [tau [Wp Ep]] [tau' [Wq Eq]] n Hn. rewrite Wp, Wq by exact Hn. f_equal. revert n Hn.
  apply (weights_are_unique clip clip_rises N (fun n => z n / eps)).
  rewrite (clipped_sum z p tau Wp), (clipped_sum z q tau' Wq), Ep, Eq. reflexivity.
Qed.

(** One number added to all logits changes nothing. *)
Theorem soft_top_k_shift z p c : is_soft_top_k z p -> is_soft_top_k (fun n => z n + c) p.
Proof.
  intros [tau [W E]]. exists (tau + c / eps). split; [| exact E].
  intros n Hn. rewrite W by exact Hn. do 2 f_equal. field. lra.
Qed.

(** Of all vectors q with entries between 0 and 1 that sum to k, k p is the nearest to z/ε. *)
Theorem soft_top_k_is_nearest z p q :
  is_soft_top_k z p -> (∀ n < N, 0 <= q n <= 1) -> Σ n < N, q n = INR k ->
  Σ n < N, (z n / eps - INR k * p n)² <= Σ n < N, (z n / eps - q n)².
Proof.
  intros [tau [W E]] Q Eq. change (sum N q = INR k) in Eq. pose proof k_is_at_least_one.
  assert (H' : Σ n < N, (z n / eps - INR k * p n)²
    <= Σ n < N, ((z n / eps - q n)² + 2 * tau * (q n - INR k * p n))).
  { apply sum_le. intros n Hn. rewrite W by exact Hn. pose proof (Q n Hn).
    replace (INR k * (clip (z n / eps - tau) / INR k)) with (clip (z n / eps - tau)) by (field; lra).
    pose proof (Rle_0_sqr (z n / eps - q n - tau)). pose proof (Rle_0_sqr (q n)).
    pose proof (Rle_0_sqr (1 - q n)).
    unfold clip, part, Rmax, Rmin, Rsqr in *.
    destruct (Rle_dec (z n / eps - tau) 0); destruct (Rle_dec _ 1); nra. }
  rewrite sum_add, sum_scale, sum_sub, sum_scale, E, Eq in H'. lra.
Qed.

(** ** The Jacobian *)

(** The slopes in the library's Jacobian, times k ε: 1 for a weight strictly between 0 and 1/k, otherwise 0.
    *)
Definition inside (p : nat -> R) (n : nat) : R := if Rlt_dec 0 (p n * (1 / INR k - p n)) then 1 else 0.

Lemma inside_nonneg p n : 0 <= inside p n.
Proof. unfold inside. destruct (Rlt_dec _ _); lra. Qed.

(** In Python: [centre(inside, v) / (k * eps)]. *)
Definition product (p v : nat -> R) (n : nat) : R := centre N (inside p) v n / (INR k * eps).

Theorem soft_top_k_jacobian_symmetric p n m :
  jacobian N (inside p) n m / (INR k * eps) = jacobian N (inside p) m n / (INR k * eps).
Proof. f_equal. apply jacobian_symmetric. Qed.

Theorem soft_top_k_jacobian_rows_sum_to_zero p : ∀ n < N, Σ m < N, jacobian N (inside p) n m / (INR k * eps)
  = 0.
Proof.
  intros n Hn. rewrite sum_divide, jacobian_rows_sum_to_zero; [unfold Rdiv; ring | | exact Hn].
  intros. apply inside_nonneg.
Qed.

(** The formula is the derivative: as long as the same weights are 0 and the same are 1/k, a change d of the
    logits, small or large, changes the weights by J d, exactly. *)
Theorem soft_top_k_derivative z d p q :
  is_soft_top_k z p -> is_soft_top_k (fun n => z n + d n) q ->
  (∀ n < N, (p n = 0 <-> q n = 0) /\ (p n = 1 / INR k <-> q n = 1 / INR k)) ->
  ∀ n < N, q n - p n = product p d n.
Proof.
  intros S S' Same. pose proof k_is_at_least_one as K.
  pose proof (soft_top_k_nonnegative z p S) as Pos. pose proof (soft_top_k_at_most_a_kth z p S) as Top.
  pose proof (soft_top_k_nonnegative _ q S') as Pos'. pose proof (soft_top_k_at_most_a_kth _ q S') as Top'.
  destruct S as [tau [Wp Ep]], S' as [tau' [Wq Eq]].
  assert (Between : forall r x, r = clip x / INR k -> 0 < r < 1 / INR k -> r = x / INR k).
  { intros r x -> [Low High]. f_equal. apply clip_inside. split.
    - apply Rmult_lt_reg_r with (/ INR k); [apply Rinv_0_lt_compat; lra | unfold Rdiv in Low; lra].
    - apply Rmult_lt_reg_r with (/ INR k); [apply Rinv_0_lt_compat; lra | unfold Rdiv in High; lra]. }
  assert (Change : ∀ n < N, (q n - p n) * (INR k * eps) = inside p n * (d n - eps * (tau' - tau))).
  { intros n Hn. destruct (Same n Hn) as [Zero One]. pose proof (Pos n Hn). pose proof (Top n Hn).
    pose proof (Pos' n Hn). pose proof (Top' n Hn). unfold inside. destruct (Rlt_dec _ _) as [I | I].
    - assert (0 < p n < 1 / INR k) by (split; nra).
      assert (q n <> 0) by (intros Z; apply Zero in Z; lra).
      assert (q n <> 1 / INR k) by (intros Z; apply One in Z; lra).
      rewrite (Between (p n) _ (Wp n Hn)), (Between (q n) _ (Wq n Hn)) by lra. field. lra.
    - assert (p n = 0 \/ p n = 1 / INR k) as [Z | Z].
      { destruct (Req_dec (p n) 0); [auto |]. destruct (Req_dec (p n) (1 / INR k)); [auto |].
        exfalso. apply I, Rmult_lt_0_compat; lra. }
      + rewrite (proj1 Zero Z), Z. ring.
      + rewrite (proj1 One Z), Z. ring. }
  intros n Hn. unfold product. apply Rmult_eq_reg_r with (INR k * eps); [| nra].
  replace (centre N (inside p) d n / (INR k * eps) * (INR k * eps)) with (centre N (inside p) d n) by (field;
    nra).
  destruct (Req_dec (sum N (inside p)) 0) as [Z | Z].
  - pose proof (term_le_sum N (inside p) n (fun m _ => inside_nonneg p m) Hn). pose proof (inside_nonneg p n).
    rewrite Change by exact Hn. unfold centre. replace (inside p n) with 0 by lra. ring.
  - revert n Hn. apply (centre_is_the_change N (inside p) d (fun n => (q n - p n) * (INR k * eps)) _ Z
      Change).
    rewrite (sum_ext N _ (fun n => INR k * eps * (q n - p n))) by (intros; ring).
    rewrite sum_scale, sum_sub, Ep, Eq. ring.
Qed.

End SoftTopK.

(** With k = 1 it is the sparsemax of z/ε. *)
Theorem soft_top_one_is_sparsemax N eps z p :
  0 < eps -> (0 < N)%nat -> is_soft_top_k N 1 eps z p -> is_sparsemax N (fun n => z n / eps) p.
Proof.
  intros Eps Pos S. destruct (sparsemax_exists N (fun n => z n / eps) Pos) as [q Q].
  pose proof (sparsemax_at_most_one N _ q Q) as One. destruct Q as [tau [W E]].
  assert (S' : is_soft_top_k N 1 eps z q).
  { exists tau. split; [| exact E]. intros n Hn. pose proof (One n Hn) as L. rewrite W in * by exact Hn.
    unfold clip. rewrite Rmin_left by exact L. cbn. field. }
  pose proof (soft_top_k_unique N 1 eps ltac:(lia) z p q S S') as Same.
  exists tau. split; [intros n Hn; rewrite Same by exact Hn; apply W, Hn | rewrite (sum_ext N _ _ Same);
    exact E].
Qed.
